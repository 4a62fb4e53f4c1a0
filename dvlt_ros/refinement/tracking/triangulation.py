"""Points from the rays that see them."""

from __future__ import annotations

import numpy as np

from ..adjusting.cholesky import solved
from ..adjusting.rotations import inverse
from ..arrays import median

TRUST_IN_DEPTH = 1e-5  # squared ratio of a ray's error to the network's relative depth error
TRUST_IN_KNOWN_DEPTH = 1e-3  # to that of a depth which another window has told


def triangulate(
    seen: np.ndarray, mask: np.ndarray, depth: np.ndarray, trust: np.ndarray, cam_from_window: np.ndarray
) -> np.ndarray:
    """Points (P, 3) nearest to their rays, and a little to where depths see them, which holds parallel rays.

    Args:
        seen: (P, S, 2), normalised coordinates. mask: (P, S), which of them count.
        depth: (P, S), NaN where there is none. A point without any is expected at the median depth.
        trust: (P,) squared ratio of a ray's error to that of the expected depth, relative.
        cam_from_window: (S, 4, 4).
    """
    window_from_cam, counted, depth = inverse(cam_from_window), mask.T, depth.T
    centres = window_from_cam[:, :3, 3:]  # (S, 3, 1)
    flat = np.ones((len(centres), 3, len(seen)))
    flat[:, :2] = seen.transpose(1, 2, 0)
    rays = window_from_cam[:, :3, :3] @ flat  # (S, 3, P), of depth 1
    unit = rays * (counted / np.sqrt(np.square(flat).sum(axis=1)))[:, None]
    left = -(unit[:, :, None] * unit[:, None]).sum(axis=0)
    left[range(3), range(3)] += counted.sum(axis=0) + trust
    across = counted[:, None] * centres - unit * (unit * centres).sum(axis=1, keepdims=True)
    return solved(left, across.sum(axis=0) + trust * expected(rays, centres, counted, depth)).T


def expected(rays: np.ndarray, centres: np.ndarray, counted: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Points (3, P) where depths (S, P) see them on average along rays (S, 3, P) from centres (S, 3, 1)."""
    known = counted & np.isfinite(depth)
    usual = median(depth[known]) if known.any() else 1.0
    where = np.where(known.any(axis=0), known, counted)
    points = rays * np.where(known, depth, usual)[:, None] + centres
    return (points * where[:, None]).sum(axis=0) / np.maximum(where.sum(axis=0), 1)
