"""Whether confidence knows where depth is wrong: what is left of the error without the least trusted pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from dvlt_ros.errors import DataError

from ..data.types import Views
from .candidates import Run
from .contrasts import ratio_interval
from .metrics import Sparsification, sparsification
from .pictures import scaled_depth

PAYS = 1.5  # a pixel is worth leaving out where it errs this many times as much as those that stay
LARGEST_SHARE = 0.5


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


def share_that_pays(sets: Mapping[str, Sequence[Sparsification]]) -> float:
    """How much of the least confident to leave out, at most `LARGEST_SHARE`.

    Bin after bin, as long as it errs `PAYS` times as much as what stays: in every set, with 95 % certainty.
    """
    steps = len(next(iter(sets.values()))[0].bin_error)
    for index in range(round(LARGEST_SHARE * steps)):
        for curves in sets.values():
            errors = torch.stack([curve.bin_error for curve in curves]).numpy()
            if ratio_interval(errors[:, index], errors[:, index + 1 :].mean(axis=1)).low < PAYS:
                return index / steps
    return LARGEST_SHARE


def plot_curves(path: Path, sets: Mapping[str, Sequence[Sparsification]], title: str) -> str:
    """A PNG of the means of each set by its name; returns the sentences that sum them up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    lines = []
    for number, (name, curves) in enumerate(sets.items()):
        found, oracle, bins = (
            torch.stack([getattr(curve, part) for curve in curves]).mean(dim=0)
            for part in ("by_confidence", "oracle", "bin_error")
        )
        ause, blind = (torch.tensor([getattr(c, part) for c in curves]).mean() for part in ("ause", "random_ause"))
        lines.append(f"{name}: area between confidence and a perfect ranking {ause:.3f}, no ranking {blind:.3f}")
        colour, removed = f"C{number}", curves[0].removed
        left.plot(removed, found, color=colour, label=f"{name}: least confident taken away")
        left.plot(removed, oracle, color=colour, label=f"{name}: largest errors taken away", linestyle="--")
        left.axhline(float(found[0]), color=colour, linewidth=0.8, linestyle=":")
        right.plot(range(1, len(bins) + 1), bins, "o-", color=colour, label=name)
    left.set(xlabel="share of pixels taken away", ylabel="relative depth error of the rest", ylim=(0, None))
    left.legend(fontsize=7)
    right.set(
        xlabel=f"1/{len(bins)} of the pixels, most confident last",
        ylabel="relative depth error",
        xticks=[],
        ylim=(0, None),
    )
    right.legend(fontsize=7)
    figure.suptitle("\n".join([title, *lines]), fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return "\n".join(lines)
