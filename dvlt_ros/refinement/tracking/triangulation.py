"""Points from the rays that see them."""

from __future__ import annotations

import numpy as np

from ..adjusting.rotations import inverse
from .epipolar import rays

TRUST_IN_DEPTH = 1e-5  # squared ratio of a ray's error to the network's relative depth error
TRUST_IN_KNOWN_DEPTH = 1e-3  # to that of a depth which another window has told


def triangulate(
    seen: np.ndarray, mask: np.ndarray, cam_from_window: np.ndarray, expected: np.ndarray, trust: np.ndarray
) -> np.ndarray:
    """Points (P, 3) nearest to their rays, and a little to where they are expected.

    Args:
        seen: (P, S, 2), normalised coordinates. mask: (P, S), which of them count.
        cam_from_window: (S, 4, 4). expected: (P, 3), what holds a point whose rays are parallel.
        trust: (P,) squared ratio of a ray's error to that of the expected depth, relative.
    """
    window_from_cam = inverse(cam_from_window)
    directions = np.einsum("sij,psj->psi", window_from_cam[:, :3, :3], rays(seen))
    across = (np.eye(3) - directions[..., :, None] * directions[..., None, :]) * mask[..., None, None]
    left = across.sum(axis=1) + trust[:, None, None] * np.eye(3)
    right = np.einsum("psij,sj->pi", across, window_from_cam[:, :3, 3]) + trust[:, None] * expected
    return np.linalg.solve(left, right[..., None])[..., 0]


def lifted(seen: np.ndarray, depth: np.ndarray, cam_from_window: np.ndarray) -> np.ndarray:
    """Points (P, S, 3) of the window at depths (P, S) of their sights (P, S, 2); NaN where there is no depth."""
    local = np.concatenate([seen, np.ones_like(seen[..., :1])], axis=-1) * depth[..., None]
    window_from_cam = inverse(cam_from_window)
    return np.einsum("sij,psj->psi", window_from_cam[:, :3, :3], local) + window_from_cam[:, :3, 3]


def expected_points(seen: np.ndarray, mask: np.ndarray, depth: np.ndarray, cam_from_window: np.ndarray) -> np.ndarray:
    """Points (P, 3) where the network's depths (P, S) see them on average; without any at the median depth."""
    known = mask & np.isfinite(depth)
    usual = float(np.median(depth[known])) if known.any() else 1.0
    where = np.where(known.any(axis=1, keepdims=True), known, mask)
    points = lifted(seen, np.where(known, depth, usual), cam_from_window)
    return (points * where[..., None]).sum(axis=1) / np.maximum(where.sum(axis=1), 1)[:, None]
