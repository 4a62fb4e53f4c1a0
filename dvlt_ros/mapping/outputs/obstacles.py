"""Obstacles: the points of a frame between two heights above the ground."""

from __future__ import annotations

import numpy as np

from ...errors import InputError
from .rendering import POINT, POINT_FIELDS


def obstacle_points(
    points: np.ndarray, base_from_cam: np.ndarray, min_height_m: float, max_height_m: float
) -> np.ndarray:
    """The `POINT` records (M,) of those points whose height is within the limits, limits included.

    Args:
        points: `POINT` records (N,), metres in the optical frame; points with NaN are not obstacles.
        base_from_cam: (4, 4), rigid, metres; the ground is z = 0 of the base.

    Raises:
        InputError: the transform is not finite, so no point would count as an obstacle.
    """
    if not np.isfinite(base_from_cam).all():
        raise InputError(f"base_from_cam must be finite to tell heights, got\n{base_from_cam}")
    xyz = points.view(np.float32).reshape(-1, len(POINT_FIELDS))[:, :3]
    heights = xyz @ base_from_cam[2, :3] + base_from_cam[2, 3]
    is_obstacle = (min_height_m <= heights) & (heights <= max_height_m)
    opaque = points.view(f"V{POINT.itemsize}")  # NumPy selects from records field by field, slowly
    return opaque[is_obstacle].view(POINT)
