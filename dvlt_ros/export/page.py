"""One page that shows what came out: pictures, depth, confidence, and the map from above with the path."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import one_line
from .colors import CONFIDENCE_COLORS, CONFIDENCE_LEGEND, DEPTH_COLORS, DEPTH_LEGEND
from .files import write_atomically

MOST_COLUMNS = 6
MOST_POINTS = 60_000


@dataclass(frozen=True, eq=False)
class Shown:
    """One frame of the page."""

    title: str
    rgb: np.ndarray  # (H, W, 3) uint8
    depth: np.ndarray  # (H, W), NaN where not trusted
    confidence: np.ndarray  # (H, W)


def write_page(
    path: Path, frames: Sequence[Shown], points: np.ndarray, colors: np.ndarray, positions: np.ndarray, caption: str
) -> None:
    """A PNG of frames, of map points (N, 3) with colours (N, 3) uint8, and of camera positions (P, 3) in the map."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, min(MOST_COLUMNS, len(frames))).round().astype(int)]
    depths = np.concatenate([frame.depth.ravel() for frame in chosen])
    near, far = np.nanquantile(depths, [0.02, 0.98]) if np.isfinite(depths).any() else (0.0, 1.0)
    surest = float(np.quantile(np.concatenate([np.log(frame.confidence).ravel() for frame in chosen]), 0.98)) or 1.0
    figure = pyplot.figure(figsize=(2.6 * len(chosen), 13), layout="constrained")
    grid = figure.add_gridspec(4, len(chosen), height_ratios=[1, 1, 1, 3.2])
    for column, frame in enumerate(chosen):
        pictures: dict[str, dict[str, Any]] = {
            frame.title: {"X": frame.rgb},
            "depth": {"X": frame.depth, "cmap": DEPTH_COLORS, "vmin": near, "vmax": far},
            "log confidence": {"X": np.log(frame.confidence), "cmap": CONFIDENCE_COLORS, "vmin": 0, "vmax": surest},
        }
        for row, (title, picture) in enumerate(pictures.items()):
            axis = figure.add_subplot(grid[row, column])
            shown = axis.imshow(**picture)
            axis.set_title(one_line(title), fontsize=8, parse_math=False)  # the name of a file is no formula
            axis.axis("off")
            if column == len(chosen) - 1 and row > 0:
                bar = figure.colorbar(shown, ax=axis, shrink=0.8)
                bar.set_label((DEPTH_LEGEND, CONFIDENCE_LEGEND)[row - 1], fontsize=7)
    below = grid[3, :].subgridspec(1, 2)
    top, side = figure.add_subplot(below[0]), figure.add_subplot(below[1])
    _view(top, points, colors, positions, (1, 0), ("y, left", "x, forward"), "map from above")
    top.invert_xaxis()
    _view(side, points, colors, positions, (0, 2), ("x, forward", "z, up"), "map from the right")
    figure.suptitle(one_line(caption), fontsize=9, parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, dpi=100, format="png")
    pyplot.close(figure)
    write_atomically(path, png.getvalue())


def _view(
    axis: Any, points: np.ndarray, colors: np.ndarray, positions: np.ndarray, axes: tuple[int, int],
    labels: tuple[str, str], title: str,
) -> None:  # fmt: skip
    """Points and path along two axes of the map; its few farthest points would make the rest small."""
    if len(points):
        low, high = np.quantile(points, [0.01, 0.99], axis=0)
        inside = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
        shown = np.random.default_rng(0).permutation(inside)[:MOST_POINTS]
        axis.scatter(*points[shown][:, axes].T, c=colors[shown] / 255, s=0.8, linewidths=0)
    axis.plot(*positions[:, axes].T, "-", color="red", linewidth=1.2, label="camera")
    axis.plot(*positions[:1, axes].T, "o", color="red", markersize=4)
    axis.set(xlabel=labels[0], ylabel=labels[1], aspect="equal", title=title)
    axis.legend(loc="upper right", fontsize=8)
