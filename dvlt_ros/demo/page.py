"""The demo's page of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model import Prediction
from ..types import Cameras

MOST_VIEWS = 6
MOST_POINTS = 40_000


def write_page(
    path: Path, images: Tensor, prediction: Prediction, points: Tensor, colors: Tensor, cameras: Cameras
) -> None:
    """Input, depth and confidence of some views beside each other, and the points from above with the cameras.

    images (S, 3, H, W); points and colors (N, 3); cameras (S,).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = torch.linspace(0, len(images) - 1, min(MOST_VIEWS, len(images))).round().long().tolist()
    depth, confidence = prediction.depth[0].cpu(), prediction.depth_confidence[0].cpu()
    near, far = torch.quantile(depth[chosen].flatten(), torch.tensor([0.02, 0.98])).tolist()
    figure = pyplot.figure(figsize=(2.4 * len(chosen), 11), layout="constrained")
    grid = figure.add_gridspec(4, len(chosen), height_ratios=[1, 1, 1, 2.6])
    for column, view in enumerate(chosen):
        pictures = {
            "view": {"X": images[view].movedim(0, -1).numpy()},
            "depth": {"X": depth[view].numpy(), "cmap": "turbo", "vmin": near, "vmax": far},
            "log confidence": {"X": confidence[view].log().numpy(), "cmap": "viridis"},
        }
        for row, (title, picture) in enumerate(pictures.items()):
            axis = figure.add_subplot(grid[row, column])
            axis.imshow(**picture)
            axis.set_title(f"{title} {view}", fontsize=8)
            axis.axis("off")
    _top_view(figure.add_subplot(grid[3, :]), points, colors, cameras)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _top_view(axis: Any, points: Tensor, colors: Tensor, cameras: Cameras) -> None:
    """Looking along the first camera's y axis (down): x to the right, z (forward) up."""
    shown = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MOST_POINTS]
    x, _, z = points[shown].numpy().T
    axis.scatter(x, z, c=colors[shown].clamp(0, 1).numpy(), s=0.6, linewidths=0)
    centers = cameras.world_from_cam[:, :3, 3].numpy()
    axis.plot(centers[:, 0], centers[:, 2], "-o", color="red", markersize=3, linewidth=1, label="cameras")
    axis.set(xlabel="x, right of the first camera", ylabel="z, ahead of it", aspect="equal")
    axis.set_title("points and cameras from above, unscaled", fontsize=9)
    axis.legend(loc="upper right", fontsize=8)
