"""What windows need of small arrays, without the checks that make NumPy's own functions cost more than the work."""

from __future__ import annotations

import numpy as np


def median(values: np.ndarray) -> float:
    """Of any shape, without NaN; NaN of none."""
    flat, middle = values.ravel(), values.size // 2
    if not values.size:
        return np.nan
    if values.size % 2:
        return float(np.partition(flat, middle)[middle])
    ordered = np.partition(flat, (middle - 1, middle))
    return 0.5 * float(ordered[middle - 1] + ordered[middle])


def found_in(values: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of values (N,) that are among others (M,), none of which comes twice, and where they are there."""
    if not len(others):
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    order = others.argsort()
    there = order[others.searchsorted(values, sorter=order).clip(max=len(others) - 1)]
    here = np.flatnonzero(others[there] == values)
    return here, there[here]
