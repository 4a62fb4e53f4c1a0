"""The page: photos on the left become a scene on the right."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import events, run, ui

from ..backends import DEFAULT_MODEL
from ..errors import DvltError
from .choices import title_of
from .model_host import ModelHost
from .panels import downloads, how_to_install, pictures_of, sliders, step, thumbnails
from .photos import MOST_PHOTOS, VIEWS_OF_STREAM
from .scene import ShowOptions
from .session import Session
from .viewer import Viewer
from .visitors.uploads import MAX_BYTES, SUFFIXES, TAKEN, check_upload

ACCEPTED = ",".join(SUFFIXES)

logger = logging.getLogger(__name__)


class Page:
    """One visitor's page."""

    def __init__(
        self, model_host: ModelHost, choices: dict[str, str], held_by_others: Callable[[Session], int] = lambda _: 0
    ) -> None:
        """``choices``: of models and weights, with their titles. ``held_by_others``: bytes of the others' uploads."""
        self._choices = choices
        self._taken_views: int | None = None  # at most, when the photos were read
        self.session = Session(model_host)
        self._held_by_others = held_by_others
        self._residence = model_host
        self._reference = 0
        self._busy = False
        self._notice: ui.notification | None = None
        with ui.header().classes("dvlt-header"):
            ui.label("dvlt_ros").classes("dvlt-logo")
            ui.label("Photos, a video or a robot's recording in, a 3D scene out").classes("dvlt-motto")
        with ui.element("main").classes("dvlt-main"):
            with ui.column().classes("dvlt-side"):
                self._build_input()
                self._build_model()
            with ui.column().classes("dvlt-stage"):
                self._build_stage()

    def _build_input(self) -> None:
        with step(1, "Choose photos"):
            self.upload = ui.upload(
                multiple=True, auto_upload=True, max_total_size=MAX_BYTES, label="Drop photos, a video or a bag",
                on_multi_upload=self._on_upload, on_rejected=self._on_rejected,
            ).props(f'accept="{ACCEPTED}" flat bordered hide-upload-btn').classes("dvlt-upload")  # fmt: skip
            self.example = ui.button("Try the example", icon="auto_awesome", on_click=self._on_example)
            self.example.props("outline no-caps").classes("w-full")
            self.input_status = ui.label(f"Photos of one room work best: {TAKEN}.").classes("dvlt-hint")
            self.thumbnails = ui.row().classes("dvlt-thumbnails")
            with ui.row().classes("dvlt-line"):
                ui.label("At most")
                self.max_views = (
                    ui.number(placeholder="all photos", min=1, max=MOST_PHOTOS, precision=0)
                    .props('dense outlined suffix="views" aria-label="views at most"')
                    .classes("dvlt-number")
                )
                ui.tooltip(f"All photos if it is empty; of a video or a bag {VIEWS_OF_STREAM} views, evenly spread.")

    def _build_model(self) -> None:
        with step(2, "Reconstruct"):
            self.model = ui.select(self._choices, value=DEFAULT_MODEL, label="Model and checkpoint")
            self.model.on_value_change(self._on_model).classes("w-full")
            with ui.row().classes("dvlt-line") as self.steps_row:
                ui.label("Steps (K)")
                self.steps = ui.slider(min=1, max=16, value=8).props("label snap").classes("dvlt-grow")
                self.steps_label = ui.label().classes("dvlt-value").bind_text_from(self.steps, "value")
                ui.tooltip("How often the network's one block is applied: more is better and slower.")
            with ui.row().classes("dvlt-line").bind_visibility_from(self.steps_row, "visible"):
                ui.label("References")
                self.references = (
                    ui.number(value=1, min=1, max=16, precision=0)
                    .props('dense outlined suffix="views" aria-label="reference views"')
                    .classes("dvlt-number")
                )
                ui.tooltip("Views that are the reference in turn; their answers are merged. Time grows as many times.")
            self.start = ui.button("Reconstruct", icon="view_in_ar", on_click=self._on_start).props("no-caps")
            self.start.classes("w-full dvlt-start").disable()
            with ui.row().classes("dvlt-line dvlt-busy") as self.busy_row:
                ui.spinner(size="1.4em")
                self.busy_label = ui.label()
            self.busy_row.set_visibility(False)
            how_to_install()

    def _build_stage(self) -> None:
        with ui.element("div").classes("dvlt-view"):
            self.viewer = Viewer().classes("dvlt-canvas")
            self.empty = ui.label("Choose photos on the left, or try the example: the scene appears here.")
            self.empty.classes("dvlt-empty")
            self.caption = ui.label().classes("dvlt-caption")
            with ui.row().classes("dvlt-look") as self.look:
                self.drawn = ui.toggle(["points", "splats"], value="points", on_change=self._refresh)
                self.drawn.props("no-caps dense unelevated")
                ui.label("drag to turn · wheel to zoom · right button to move")
                with ui.button(icon="center_focus_strong", on_click=self.viewer.reset_view).props("round flat dense"):
                    ui.tooltip("Back to the first view")
        with ui.row().classes("dvlt-below") as self.below:
            self.percentile = sliders(self._on_options, self.viewer.set_point_size)
            downloads(f"/results/{self.session.token}/scene")
        self.below.set_visibility(False)
        self.look.set_visibility(False)
        self.pictures = ui.column().classes("dvlt-pictures")

    # What the visitor does

    async def _on_upload(self, upload: events.MultiUploadEventArguments) -> None:
        if self._busy:  # it was sent before the button went grey
            self._say("One thing at a time: please send that again.")
            self.upload.reset()
            return
        with self._working("Reading …"):
            names, sizes = [file.name for file in upload.files], [file.size() for file in upload.files]
            check_upload(names, sizes, self._held_by_others(self.session))
            paths = self.session.new_upload(names)
            for file, path in zip(upload.files, paths, strict=True):
                await file.save(path)
            await self._take(lambda: self.session.take(paths, self._views))
        self.upload.reset()  # only now: the browser adds what it has just sent to the list

    def _on_rejected(self) -> None:
        self._say(f"Not taken: {TAKEN} ({ACCEPTED.replace(',', ' ')}), together at most 2 GiB.")

    async def _on_example(self) -> None:
        with self._working("Reading …"):
            await self._take(lambda: self.session.take_example(self._views))

    async def _take(self, take: Callable[[], object]) -> None:
        """Shows the photos that come out of ``take``."""
        self._reference, self._taken_views = 0, self._views
        try:
            await run.io_bound(take)
        finally:
            self._show_photos()

    def _show_photos(self) -> None:
        photos = self.session.photos
        if photos is None:
            self.thumbnails.clear()
            self.input_status.set_text("Nothing to reconstruct yet.")
            return
        of_all = f"{len(photos)} of {photos.total} images" if len(photos) < photos.total else f"{len(photos)} images"
        self.input_status.set_text(
            f"{self.session.name}: {of_all}. A click makes one the reference: the scene's origin."
        )
        thumbnails(self.thumbnails, photos, self._reference, self._on_reference)

    def _on_reference(self, index: int) -> None:
        if not self._busy:
            self._reference = index
            self._show_photos()

    async def _on_model(self) -> None:
        """The range of K is known when the model is loaded."""
        name = self.model.value
        with self._working(f"Loading {title_of(name)} …"):
            limits = await run.io_bound(self._residence.steps, name)
            if limits is not None:  # else the server is ending
                self.show_steps(*limits)

    def show_steps(self, fewest: int, most: int) -> None:
        self.steps.props(f"min={fewest} max={most}")
        self.steps.set_value(most)
        self.steps_row.set_visibility(fewest < most)

    async def _on_start(self) -> None:
        if self._views != self._taken_views:  # a click after typing must not get lost while photos are read
            with self._working("Reading …"):
                await self._take(lambda: self.session.limit(self._views))
        photos = self.session.photos
        if photos is None:
            return
        name = self.model.value
        steps, references = None, 1
        if self.steps_row.visible:
            steps, references = int(self.steps.value), int(self.references.value or 1)
        many = f"{len(photos)} view{'s' if len(photos) > 1 else ''}"
        with self._working(f"Reconstructing {many} with {title_of(name)} …"):
            await run.io_bound(self.session.reconstruct, name, self._reference, steps, references)
            await self._show_scene()
            self.viewer.scroll_into_view()

    async def _show_scene(self) -> None:
        scene = self.session.scene
        assert scene is not None
        unit = "metres" if scene.is_metric else "no unit: lengths are up to one unknown factor"
        title = title_of(scene.model)
        steps = f", K = {scene.num_steps}" if scene.num_steps > 1 else ""
        about = [f"{title}{steps}", f"{len(scene.titles)} views", unit, *filter(None, [scene.remark])]
        self.caption.set_text(" · ".join(about))
        self.empty.set_visibility(False)
        self.below.set_visibility(True)
        self.look.set_visibility(True)
        self.percentile.set_value(scene.percentile(self.session.options))
        self._refresh()
        shown = await run.io_bound(pictures_of, scene)
        if shown is not None:  # else the server is ending
            shown.build(self.pictures)

    def _on_options(self, **changed: Any) -> None:
        self.session.options = ShowOptions(**(vars(self.session.options) | changed))
        if self.session.scene is not None:
            self._refresh()

    def _refresh(self) -> None:
        """Other points, splats or frusta of the same scene: the network has no part in it."""
        options, number = self.session.options, self.session.scene_number
        version = f"{number}-{options.max_points}-{options.percentile}-{options.frustum_percent:g}"
        file = f"/results/{self.session.token}/scene"
        splats = f"{file}.splats.ply?{number}-{options.percentile}" if self.drawn.value == "splats" else ""
        self.viewer.show(f"{file}.glb?{version}", number, splats)

    # Helpers

    @property
    def _views(self) -> int | None:
        """None: all photos, or some views of a video or a bag."""
        return min(MOST_PHOTOS, max(1, int(self.max_views.value))) if self.max_views.value else None

    @contextmanager
    def _working(self, text: str) -> Iterator[None]:
        """One thing at a time: nothing else can be begun meanwhile. What goes wrong is said to the visitor."""
        self._dismiss_notice()
        self._set_busy(text)
        try:
            yield
        except DvltError as error:
            self._say(str(error))
        except Exception as error:  # whatever a model, or a decoder, does: the page stays usable
            logger.exception("%s failed", text)
            self._say(f"It did not work: {type(error).__name__}: {error}")
        finally:
            self._set_busy("")

    def _say(self, text: str) -> None:
        """Until it is closed, or something else is begun."""
        self._dismiss_notice()
        self._notice = ui.notification(
            text, type="negative", position="top", multi_line=True, close_button="OK", timeout=None
        )

    def _dismiss_notice(self) -> None:
        if self._notice is not None and not self._notice.is_deleted:  # else the visitor has closed it
            self._notice.dismiss()
        self._notice = None

    def _set_busy(self, text: str) -> None:
        self._busy = bool(text)
        self.busy_label.set_text(text)
        self.busy_row.set_visibility(bool(text))
        for control in (self.upload, self.example, self.max_views, self.model, self.steps, self.references):
            control.set_enabled(not text)
        self.start.set_enabled(not text and self.session.photos is not None)
