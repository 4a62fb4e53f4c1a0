"""When depth is settled: the size of an update below which more steps change little, learnt from the probes."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 0.02  # of the probe's error after the last step, by which a settled step may be worse


def learn_threshold(updates: Tensor, errors: Tensor) -> float | None:
    """The largest update at which stopping costs little.

    Args:
        updates: (N, K), size of each step's update; see `dvlt_ros.model.stages.update_sizes`.
        errors: (N, K), error of the probe after each step.

    Returns:
        The largest threshold with which the mean error of all windows, each stopped after its first update below it,
        stays within `TOLERANCE` of the mean error after K steps; None: even the smallest update costs more.
    """
    known = errors.isfinite().all(1)
    updates, errors = updates[known], errors[known]
    if not len(errors):
        return None
    limit = (1 + TOLERANCE) * float(errors[:, -1].mean())
    for threshold in updates.flatten().unique().flip(0).tolist():
        if float(errors.gather(1, stops(updates, threshold)).mean()) <= limit:
            return float(threshold)
    return None


def smallest_steps(errors: Tensor) -> Tensor:
    """Steps (N,), from 1, from which on the errors (N, K) of a window stay within `TOLERANCE` of its last one.

    Windows with an error that is not finite are left out.
    """
    known = errors[errors.isfinite().all(1)]
    worse = known > (1 + TOLERANCE) * known[:, -1:]
    last_worse = worse * torch.arange(1, errors.shape[1] + 1)
    return 1 + last_worse.amax(1)


def stops(updates: Tensor, threshold: float) -> Tensor:
    """Index (N, 1) of the step after which each window (N, K) stops: the first update not above it, or the last."""
    below = updates <= threshold
    below[:, -1] = True
    return torch.argmax(below.int(), dim=1, keepdim=True)
