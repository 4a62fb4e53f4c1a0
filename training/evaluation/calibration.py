"""Whether confidence knows where depth is wrong: what is left of the error without the least trusted pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dvlt_ros.errors import DataError

from ..data.types import Views
from .candidates import Run
from .metrics import Sparsification, sparsification
from .pictures import scaled_depth


def window_curves(run: Run, windows: Sequence[Views], num_steps: int) -> list[Sparsification]:
    """Of the relative depth error in every window whose depth is known somewhere; one median scale per window.

    Raises:
        DataError: no window has any true depth.
    """
    curves = []
    for views in windows:
        valid = views.valid[0].cpu()
        if not valid.any():
            continue
        with torch.inference_mode():
            prediction = run(views.images, num_steps)
        _, error = scaled_depth(prediction.depth[0].cpu(), views.depth[0].cpu(), valid)
        curves.append(sparsification(error, prediction.depth_confidence[0].cpu(), valid))
    if not curves:
        raise DataError("no window has true depth: confidence has nothing to be compared with")
    return curves


def plot_curves(path: Path, curves: Sequence[Sparsification], title: str) -> str:
    """A PNG of their means; returns the sentence that sums it up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    removed = curves[0].removed
    found, oracle, bins = (
        torch.stack([getattr(curve, name) for curve in curves]).mean(dim=0)
        for name in ("by_confidence", "oracle", "bin_error")
    )
    ause, blind = (torch.tensor([getattr(c, name) for c in curves]).mean() for name in ("ause", "random_ause"))
    summary = f"area between confidence and a perfect ranking: {ause:.3f}; a ranking that knows nothing: {blind:.3f}"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot(removed, found, label="least confident taken away")
    left.plot(removed, oracle, label="largest errors taken away", linestyle="--")
    left.axhline(float(found[0]), color="grey", linewidth=0.8, label="any taken away")
    left.set(xlabel="share of pixels taken away", ylabel="relative depth error of the rest", ylim=(0, None))
    left.legend()
    right.bar(range(1, len(bins) + 1), bins)
    right.set(xlabel=f"1/{len(bins)} of the pixels, most confident last", ylabel="relative depth error", xticks=[])
    figure.suptitle(f"{title}\n{summary}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return summary
