"""The pictures of a study as PNG, in bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .probe import as_maps
from .study import Findings, Pictures

RANGE = (0.02, 0.98)  # quantiles of coordinates that the colours of point maps span


@contextmanager
def _canvas(png: io.BytesIO, rows: int, columns: int, width: float, height: float) -> Iterator[Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.locator_params(axis="x", integer=True)  # layers and steps
    yield axes
    figure.savefig(png, dpi=100)
    pyplot.close(figure)


def all_figures(found: Findings, grid: tuple[int, int]) -> dict[str, bytes]:
    """Every picture that this study has the figures for, by its title."""
    curves: dict[str, Any] = found.curves
    made = {"Error of the point map after every layer": _errors(curves), "How the state moves": _movement(curves)}
    if "full" in curves:
        made["A full pass against stopping a longer one"] = _full(curves)
        made["K beyond the trained range"] = _beyond(curves["beyond"])
    if curves.get("attention"):
        made["How sharply a patch looks at its match"] = _concentration(curves["attention"])
    if found.pictures is not None:
        made["Point maps of the probes"] = _strips(found.pictures, grid)
        if found.pictures.looks:
            made["Where one patch looks"] = _looks(found.pictures, grid)
    return made


def _places(titles: Sequence[str]) -> list[float]:
    """On the axis of layers; what lies within a layer stands before its end."""
    return [float(title) if title.isdecimal() else float(title.split()[0]) - 0.5 for title in titles]


def _errors(curves: dict[str, Any]) -> bytes:
    png, places = io.BytesIO(), _places(curves["titles"])
    main = [i for i, title in enumerate(curves["titles"]) if title.isdecimal()]
    shown = {"rel_l2": "Rel. L2, all views", "rel_l2_others": "Rel. L2, other views", "inlier_ratio": "share below 3 %"}
    with _canvas(png, 1, 3, 4.6, 3.6) as axes:
        for axis, (name, label) in zip(axes[0], shown.items(), strict=True):
            rows = [[seed[name] for seed in curves["probe"][i]] for i in main]
            at = [places[i] for i in main]
            axis.plot(at, [sum(row) / len(row) for row in rows], "o-", color="C0", label="probe of each layer")
            axis.fill_between(at, [min(row) for row in rows], [max(row) for row in rows], color="C0", alpha=0.3)
            within = [i for i in range(len(places)) if i not in main]
            if within:
                inner = [curves["probe"][i][0][name] for i in within]
                axis.plot([places[i] for i in within], inner, "x", color="C0", label="within a layer")
            axis.plot(at, [row[name] for row in curves["transfer"]], "s--", color="C1", label="last probe on all")
            if "lens" in curves and name in curves["lens"][0]:
                axis.plot(at, [row[name] for row in curves["lens"]], "^-", color="C2", label="trained decoders (lens)")
            for number, (control, row) in enumerate(curves.get("controls", {}).items()):
                axis.axhline(row[name], color=f"C{3 + number}", linestyle=":", label=control)
            axis.set(xlabel="layer", ylabel=label)
            if name != "inlier_ratio":
                axis.set_ylim(0, min(axis.get_ylim()[1], 2.0))
        axes[0][0].legend(fontsize=6)
    return png.getvalue()


def _movement(curves: dict[str, Any]) -> bytes:
    png, moved = io.BytesIO(), curves["movement"]
    shown = {
        "cosine": "cosine to the final state", "update": "size of the update", "norm": "norm over the first state's",
        "direction": "cosine of update and way left", "top_share": "norm² in the largest 1 % of channels",
    }  # fmt: skip
    with _canvas(png, 1, len(shown), 3.2, 3.0) as axes:
        for axis, (name, label) in zip(axes[0], shown.items(), strict=True):
            values = moved[name]
            start = len(moved["cosine"]) - len(values)  # changes begin with the first step
            axis.plot(range(start, start + len(values)), values, "o-")
            axis.set(xlabel="step", title=label)
            axis.title.set_size(9)
    return png.getvalue()


def _full(curves: dict[str, Any]) -> bytes:
    png = io.BytesIO()
    names = ("rel_l2", "abs_rel", "auc@30")
    with _canvas(png, 1, len(names), 4.2, 3.2) as axes:
        for axis, name in zip(axes[0], names, strict=True):
            steps = range(1, len(curves["full"]) + 1)
            axis.plot(steps, [row[name] for row in curves["full"]], "o-", label="full pass with this K")
            axis.plot(steps, [row[name] for row in curves["lens"][1:]], "s--", label="longest pass, stopped here")
            axis.set(xlabel="steps", ylabel=name)
        axes[0][0].legend(fontsize=7)
    return png.getvalue()


def _beyond(rows: dict[int, dict[str, float]]) -> bytes:
    png, names = io.BytesIO(), ("rel_l2", "abs_rel", "auc@3", "auc@30", "top_share", "norm")
    with _canvas(png, 1, len(names), 2.9, 2.8) as axes:
        for axis, name in zip(axes[0], names, strict=True):
            axis.plot([int(k) for k in rows], [row[name] for row in rows.values()], "o-")
            axis.axvline(min(int(k) for k in rows), color="grey", linestyle=":")
            axis.set(xlabel="K (dotted: trained)", title=name)
    return png.getvalue()


def _concentration(rows: list[dict[str, float]]) -> bytes:
    png = io.BytesIO()
    shown = {
        "entropy": "entropy (1: uniform)", "match_mass": "mass within 3 × 3 of the match",
        "best_head_mass": "the same, best head", "match_distance": "patches to the match",
        "special_mass": "mass on special tokens",
    }  # fmt: skip
    with _canvas(png, 1, len(shown), 3.0, 2.8) as axes:
        for axis, (name, label) in zip(axes[0], shown.items(), strict=True):
            axis.plot(range(1, len(rows) + 1), [row[name] for row in rows], "o-")
            axis.set(xlabel="step", title=label)
            axis.title.set_size(9)
    return png.getvalue()


def _strips(shown: Pictures, grid: tuple[int, int]) -> bytes:
    """The first and the last view: points as colours, x red, y green, z blue."""
    png, views = io.BytesIO(), (0, len(shown.images) - 1)
    known = shown.truth[shown.valid]
    low, high = torch.quantile(known, torch.tensor(RANGE), dim=0)
    with _canvas(png, 2, len(shown.strips) + 2, 1.5, 1.25) as axes:
        for line, view in zip(axes, views, strict=True):
            line[0].imshow(shown.images[view].permute(1, 2, 0).clamp(0, 1).numpy())
            for axis, points in zip(line[1:], [*shown.strips, shown.truth], strict=True):
                scale = known.norm(dim=-1).mean() / points[shown.valid].norm(dim=-1).mean()
                colours = ((points[view] * scale - low) / (high - low)).clamp(0, 1)
                maps = as_maps(colours.movedim(-1, 0), grid).movedim(0, -1)
                axis.imshow(maps.numpy())
        for axis, title in zip(axes[0], ("image", *map(str, range(len(shown.strips))), "truth"), strict=True):
            axis.set_title(title, fontsize=8)
        _bare(axes)
    return png.getvalue()


def _looks(shown: Pictures, grid: tuple[int, int]) -> bytes:
    """The queried patch in the first view, then what it attends to in the others, step by step."""
    png, columns = io.BytesIO(), grid[1]
    views = [s for s in range(1, len(shown.images)) if shown.matches[s] is not None][:3] or [1]
    size = shown.images.shape[-1] / columns
    with _canvas(png, len(views), len(shown.looks) + 2, 1.5, 1.25) as axes:
        for line, view in zip(axes, views, strict=True):
            for axis, image, patch in ((line[0], 0, shown.query), (line[1], view, shown.matches[view])):
                axis.imshow(shown.images[image].permute(1, 2, 0).clamp(0, 1).numpy())
                if patch is not None:
                    axis.plot((patch % columns + 0.5) * size, (patch // columns + 0.5) * size, "r+", markersize=9)
            for axis, look in zip(line[2:], shown.looks, strict=True):
                axis.imshow(_heat(look[view], grid), cmap="magma", vmin=0)
                if (match := shown.matches[view]) is not None:
                    axis.plot(match % columns, match // columns, "c+", markersize=6)
        titles = ("queried patch", "true match", *(f"step {k + 1}" for k in range(len(shown.looks))))
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=8)
        _bare(axes)
    return png.getvalue()


def _heat(look: Tensor, grid: tuple[int, int]) -> Any:
    return look.view(grid).numpy()


def _bare(axes: Any) -> None:
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
