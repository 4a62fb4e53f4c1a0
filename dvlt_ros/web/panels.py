"""Parts of the page that know nothing of each other."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from ..backends import is_installed, model_card, model_names
from ..export.colors import CONFIDENCE_COLORS, CONFIDENCE_LEGEND, DEPTH_COLORS, DEPTH_LEGEND
from .photos import Photos
from .pictures import color_bar, confidence_overlays, data_url, depth_overlays, depth_range, thumbnail
from .scene import Scene, ShowOptions

THUMBNAIL_EDGE = 160  # pixels
POINT_COUNTS = (1_000, 10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000)
DOWNLOADS = {
    "glb": ("3D scene, .glb", "points, cameras and path for any 3D viewer, Blender or a slide"),
    "ply": ("points, .ply", "points with colour and confidence for MeshLab, CloudCompare or Open3D"),
    "splats.ply": ("Gaussian splats, .ply", "3DGS file, for splat viewers; without training"),
    "colmap.zip": ("COLMAP model, .zip", "photos, cameras and points for COLMAP, OpenMVS or trainers of splats"),
    "nerfstudio.zip": ("nerfstudio, .zip", "photos and transforms.json"),
    "rrd": ("recording, .rrd", "photos, depth, confidence, cameras and points for Rerun"),
}


def step(number: int, title: str) -> ui.card:
    """A card with a number."""
    card = ui.card().classes("dvlt-step")
    with card, ui.row().classes("dvlt-line"):
        ui.label(str(number)).classes("dvlt-step-number")
        ui.label(title).classes("dvlt-step-title")
    return card


def thumbnails(row: ui.row, photos: Photos, reference: int, choose: Callable[[int], None]) -> None:
    """A click on a photo makes it the reference."""
    row.clear()
    with row:
        for index, (image, title) in enumerate(zip(photos.images, photos.titles, strict=True)):
            is_reference = index == reference
            classes = "dvlt-thumbnail dvlt-reference" if is_reference else "dvlt-thumbnail"
            with ui.element("button").classes(classes).props(f'aria-label="make {index + 1} the reference"') as photo:
                ui.html(f'<img src="{data_url(thumbnail(image, THUMBNAIL_EDGE))}" alt="">', sanitize=False)
                if is_reference:
                    ui.label("reference").classes("dvlt-badge")
                ui.tooltip(title)
            photo.on("click", lambda _, index=index: choose(index))


def sliders(change: Callable[..., None], point_size: Callable[[float], None]) -> ui.slider:
    """``change`` gets a field of `ShowOptions` when a slider is let go, ``point_size`` pixels while it moves.

    Returns that of the percentile, which each scene's checkpoint sets until somebody moves it.
    """
    start = ShowOptions()
    with ui.element("div").classes("dvlt-sliders"):
        _slider(
            "Points", "at most so many are shown and downloaded", (0, len(POINT_COUNTS) - 1, 1),
            POINT_COUNTS.index(start.max_points), lambda v: change(max_points=POINT_COUNTS[int(v)]),
            lambda v: f"{POINT_COUNTS[int(v)]:,}",
        )  # fmt: skip
        percentile = _slider(
            "Leave out the least certain", "points below this percentile of the confidence", (0, 100, 1),
            0, lambda v: change(percentile=float(v)), lambda v: f"{v:g} %",
        )  # fmt: skip
        _slider(
            "Camera size", "of the frusta, in percent of the scene; 0 hides cameras and path", (0, 5, 0.1),
            start.frustum_percent, lambda v: change(frustum_percent=float(v)), lambda v: f"{v:g} %",
        )  # fmt: skip
        size = _slider("Point size", "in pixels, on this page only", (1, 8, 0.5), 2, point_size, lambda v: f"{v:g} px")
        size.on_value_change(lambda event: point_size(event.value))
    return percentile


def _slider(
    title: str, hint: str, span: tuple[float, float, float], value: float, let_go: Callable[[Any], None],
    shown: Callable[[Any], str],
) -> ui.slider:  # fmt: skip
    with ui.element("div").classes("dvlt-slider"):
        with ui.row().classes("dvlt-line"):
            ui.label(title).classes("dvlt-grow")
            label = ui.label(shown(value)).classes("dvlt-value")
        low, high, step = span
        slider = ui.slider(min=low, max=high, step=step, value=value).props(f'aria-label="{title}"')
        slider.on_value_change(lambda event: label.set_text(shown(event.value)))
        slider.on("change", lambda event: let_go(event.args))  # the value in hand may be older: it comes throttled
        ui.tooltip(hint)
    return slider


def downloads(address: str) -> None:
    """``address`` without the dot and the kind."""
    with ui.element("div").classes("dvlt-downloads"):
        ui.label("Take it with you").classes("dvlt-step-title")
        for kind, (title, hint) in DOWNLOADS.items():
            button = ui.button(title, icon="download").props(f'no-caps outline href="{address}.{kind}" download')
            with button:
                if kind == "rrd" and importlib.util.find_spec("rerun") is None:
                    button.disable()
                    hint = "needs Rerun: pip install 'rerun-sdk>=0.41,<0.42'"
                ui.tooltip(hint)


def how_to_install() -> None:
    """The models that are not here."""
    missing = [model_card(name) for name in model_names() if not is_installed(name)]
    if not missing:
        return
    with ui.expansion("More models").classes("dvlt-more").props("dense"):
        ui.label("Installed beside this page, they appear in the list.").classes("dvlt-hint")
        for card in missing:
            ui.label(f"{card.title} · weights: {card.default_weights.licence}").classes("dvlt-model")
            ui.label(card.install).classes("dvlt-command")


@dataclass(frozen=True)
class ScenePictures:
    """Each view as a photo, under its depth and under its confidence, as addresses."""

    titles: tuple[str, ...]
    layers: dict[str, list[str]]
    bars: dict[str, str]  # colours with their ends as HTML, of the layers that have some

    def build(self, column: ui.column) -> None:
        column.clear()
        with column:
            with ui.row().classes("dvlt-line"):
                ui.label("View by view").classes("dvlt-step-title")
                choice = ui.toggle(list(self.layers), value="Depth").props("no-caps dense")
                legend = ui.label().classes("dvlt-hint")
                bar = ui.html(sanitize=False).classes("dvlt-bar")
            row = ui.row().classes("dvlt-views")

        def show(layer: str) -> None:
            legend.set_text(LEGENDS[layer])
            bar.set_content(self.bars.get(layer, ""))
            row.clear()
            with row:
                for title, address in zip(self.titles, self.layers[layer], strict=True):
                    with ui.element("figure").classes("dvlt-figure").props(f'data-layer="{layer}"'):
                        ui.html(f'<img src="{address}" alt="{layer} of a view">', sanitize=False)
                        with ui.element("figcaption"):
                            ui.label(title)

        choice.on_value_change(lambda event: show(event.value))
        show("Depth")


LEGENDS = {"Photo": "what the network saw", "Depth": DEPTH_LEGEND, "Confidence": CONFIDENCE_LEGEND}


def pictures_of(scene: Scene) -> ScenePictures:
    """Takes a while: call it from a thread."""
    layers = {"Photo": list(scene.images), "Depth": depth_overlays(scene), "Confidence": confidence_overlays(scene)}
    unit = " m" if scene.is_metric else ""
    near, far = (f"{value:.2g}{unit}" for value in depth_range(scene))
    bars = {"Depth": _bar(DEPTH_COLORS, near, far), "Confidence": _bar(CONFIDENCE_COLORS, "0 %", "100 %")}
    return ScenePictures(scene.titles, {name: list(map(data_url, images)) for name, images in layers.items()}, bars)


def _bar(colormap: str, low: str, high: str) -> str:
    """The colours from ``low`` to ``high``."""
    return f'{low} <img src="{data_url(color_bar(colormap))}" alt="{colormap}"> {high}'
