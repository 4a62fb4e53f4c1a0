"""What more steps and more views are worth, on the same windows, with 95 % bootstrap intervals over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.types import Views
from .candidates import Run
from .metrics import depth_metrics

BOOTSTRAP_ROUNDS = 2000


@dataclass(frozen=True)
class Interval:
    """A figure and the 95 % interval of its bootstrap."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f}  [{self.low:+.4f}, {self.high:+.4f}]"


def mean_interval(values: np.ndarray) -> Interval:
    """Of the mean of values (n,)."""
    resampled = np.random.default_rng(0).choice(values, (BOOTSTRAP_ROUNDS, len(values))).mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray) -> Interval:
    """Of the ratio of two means over the same windows (n,), resampled together."""
    rows = np.random.default_rng(0).integers(len(numerator), size=(BOOTSTRAP_ROUNDS, len(numerator)))
    ratios = numerator[rows].mean(axis=1) / denominator[rows].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(float(numerator.mean() / denominator.mean()), float(low), float(high))


def one_view_errors(run: Run, windows: Sequence[Views], steps: int, device: torch.device, bf16: bool) -> list[float]:
    """AbsRel of every window (1, S, ...) when each of its views is seen alone, with a median scale of its own."""
    errors = []
    for window in windows:
        views = window.to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            depth = torch.cat(
                [run(views.images[:, i : i + 1], steps).depth[:, 0] for i in range(views.images.shape[1])]
            )
        found = [_abs_rel(depth[i], views.depth[0, i], views.valid[0, i]) for i in range(len(depth))]
        known = [error for error in found if math.isfinite(error)]
        errors.append(sum(known) / len(known) if known else math.nan)
    return errors


def _abs_rel(found: Tensor, truth: Tensor, valid: Tensor) -> float:
    if not valid.any():
        return math.nan
    return depth_metrics(found[None], truth[None], valid[None], align="median_scale").named()["abs_rel"]


def one_view_line(label: str, steps: int, alone: Sequence[float], together: Sequence[float], views: int) -> str:
    """One view's AbsRel over that of all views of a window."""
    single, several = np.array(alone), np.array(together)
    known = np.isfinite(single) & np.isfinite(several)
    if not known.any():
        return f"{label}, K = {steps}: no window to judge one view on"
    ratio = ratio_interval(single[known], several[known])
    figures = f"{single[known].mean():.4f} against {several[known].mean():.4f}"
    return (
        f"{label}, K = {steps}: AbsRel of one view against {views}: {figures}, "
        f"{ratio.value:.3f} times  [{ratio.low:.3f}, {ratio.high:.3f}]"
    )


def steps_line(label: str, few: tuple[int, Sequence[float]], many: tuple[int, Sequence[float]], metric: str) -> str:
    """The difference of a metric between two K, paired by window."""
    before, after = np.array(few[1]), np.array(many[1])
    known = np.isfinite(before) & np.isfinite(after)
    if not known.any():
        return f"{label}: no window to compare K = {many[0]} with K = {few[0]} on"
    change = mean_interval((after - before)[known])
    return f"{label}, K = {many[0]} against K = {few[0]}: {metric} {before[known].mean():.4f}, {change}"
