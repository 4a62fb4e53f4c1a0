"""Pictures of what a network sees: images, true and predicted depth, error and confidence side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dvlt_ros.export.colors import CONFIDENCE_COLORS, CONFIDENCE_LEGEND, DEPTH_COLORS, DEPTH_LEGEND

from ..data.types import Views
from .candidates import Run

TITLES = (
    "image", f"true depth\n{DEPTH_LEGEND}", "predicted depth\nwith the same colours", "relative error",
    f"confidence\n{CONFIDENCE_LEGEND}",
)  # fmt: skip
MOST_ERROR = 0.3  # that has a colour of its own


@dataclass(frozen=True, eq=False)
class Row:
    """One view, its maps (H, W) in the truth's unit, NaN where unknown."""

    image: Tensor  # (3, H, W) in [0, 1]
    depth: Tensor
    found_depth: Tensor
    error: Tensor  # relative
    confidence: Tensor | None  # on any scale
    title: str = ""


def picture_grid(path: Path, run: Run, windows: Sequence[Views], num_steps: int, most: int = 8) -> None:
    """One row per window, evenly chosen: its middle view."""
    chosen = [windows[i] for i in torch.linspace(0, len(windows) - 1, min(most, len(windows))).long()]
    rows = []
    for views in chosen:
        with torch.inference_mode():
            prediction = run(views.images, num_steps)
        middle = views.images.shape[1] // 2
        truth, valid = views.depth[0].cpu(), views.valid[0].cpu()
        scaled, error = scaled_depth(prediction.depth[0].cpu(), truth, valid)
        true, confidence = truth[middle].where(valid[middle], torch.nan), prediction.depth_confidence[0, middle].cpu()
        rows.append(Row(views.images[0, middle].cpu(), true, scaled[middle], error[middle], confidence.log()))
    write_rows(path, rows)


def scaled_depth(found: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of a window in the truth's unit, by the median ratio, and its relative error, NaN where it is unknown."""
    scaled = found * (truth[valid] / found[valid]).median() if valid.any() else found
    return scaled, ((scaled - truth).abs() / truth).where(valid, torch.nan)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A PNG with one line of pictures per row. Depths of a row share one colour scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(rows), len(TITLES), figsize=(13, 1.9 * len(rows) + 0.3), squeeze=False, layout="constrained"
    )
    for line, row in zip(axes, rows, strict=True):
        known = row.depth[row.depth.isfinite()]
        near, far = torch.quantile(known, known.new_tensor([0.02, 0.98])).tolist() if len(known) else (0.0, 1.0)
        line[0].imshow(row.image.permute(1, 2, 0).numpy())
        line[0].set_ylabel(row.title, fontsize=8)
        line[1].imshow(row.depth.numpy(), cmap=DEPTH_COLORS, vmin=near, vmax=far)
        depth = line[2].imshow(row.found_depth.numpy(), cmap=DEPTH_COLORS, vmin=near, vmax=far)
        error = line[3].imshow(row.error.numpy(), cmap="magma", vmin=0, vmax=MOST_ERROR)
        for axis, shown in ((line[2], depth), (line[3], error)):
            figure.colorbar(shown, ax=axis, shrink=0.9).ax.tick_params(labelsize=6)
        if row.confidence is not None:
            line[4].imshow(row.confidence.numpy(), cmap=CONFIDENCE_COLORS)
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
