"""Pictures of what a network sees: images, true and predicted depth, error and confidence side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dvlt_ros.model import Dvlt

from .data.types import Views

TITLES = ("image", "true depth", "predicted depth", "relative error", "confidence")


def picture_grid(path: Path, model: Dvlt, windows: Sequence[Views], num_steps: int, most: int = 8) -> None:
    """One row per window, evenly chosen: its middle view. Depths of a row share one colour scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = [windows[i] for i in torch.linspace(0, len(windows) - 1, min(most, len(windows))).long()]
    figure, axes = pyplot.subplots(len(chosen), len(TITLES), figsize=(12, 1.9 * len(chosen)), squeeze=False)
    device = next(model.parameters()).device
    for row, views in zip(axes, chosen, strict=True):
        with torch.inference_mode():
            prediction = model(views.to(device).images, num_steps=num_steps)
        middle = views.images.shape[1] // 2
        truth, valid = views.depth[0].cpu(), views.valid[0].cpu()
        found = prediction.depth[0].cpu()
        scaled = found * (truth[valid] / found[valid]).median() if valid.any() else found
        error = ((scaled - truth).abs() / truth).where(valid, torch.nan)
        near, far = torch.quantile(truth[middle][valid[middle]], torch.tensor([0.02, 0.98])).tolist()
        true = truth[middle].where(valid[middle], torch.nan)
        row[0].imshow(views.images[0, middle].permute(1, 2, 0).cpu().numpy())
        row[1].imshow(true.numpy(), cmap="turbo", vmin=near, vmax=far)
        row[2].imshow(scaled[middle].numpy(), cmap="turbo", vmin=near, vmax=far)
        row[3].imshow(error[middle].numpy(), cmap="magma", vmin=0, vmax=0.3)
        row[4].imshow(prediction.depth_confidence[0, middle].cpu().log().numpy(), cmap="viridis")
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
