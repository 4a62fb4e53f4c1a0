"""Robust statistics: means and deviations that a minority of outliers hardly changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
SOFTNESS = 2.0  # multiple of the typical residual at which a sample's weight is a quarter
TINY = 1e-9  # residuals below it are rounding errors

Values = TypeVar("Values", np.ndarray, Tensor)


def deviation(values: Sequence[float] | np.ndarray, middle: float) -> float:
    """Standard deviation of values (N,) about ``middle``, from the median absolute deviation."""
    return NORMAL * float(np.median(np.abs(np.asarray(values) - middle)))


def soften(residual: Values, typical: float, weights: Values | None = None) -> Values:
    """Weights (N,) with sum 1 that fall to zero for large residuals (Geman-McClure).

    Args:
        residual: (N,).
        typical: a typical residual of inliers, in the same unit.
        weights: (N,), multiplied with the robust ones.
    """
    share = (1 + (residual / (SOFTNESS * max(typical, TINY))) ** 2) ** -2.0
    share = share if weights is None else share * weights
    return share / share.sum()


def mean_rotation(rotations: np.ndarray) -> np.ndarray:
    """Mean (3, 3) of rotations (S, 3, 3); those far from the median rotation count less."""
    cosine = (np.einsum("aij,bij->ab", rotations, rotations) - 1) / 2
    angle = np.arccos(np.clip(cosine, -1, 1))
    away = angle[np.median(angle, axis=1).argmin()]
    u, _, vt = np.linalg.svd(np.tensordot(soften(away, float(np.median(away))), rotations, axes=1))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
