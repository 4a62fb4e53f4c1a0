"""Points of one sensor as sparse depth of a camera, as the published preprocessing rounds them."""

from __future__ import annotations

from typing import Literal

import numpy as np

Rounding = Literal["truncate", "nearest"]


def sparse_depth(
    points_cam: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], rounding: Rounding, min_depth: float = 0.0
) -> np.ndarray:
    """Depth (H, W) float32 of camera-frame points (N, 3); the nearest point of a pixel wins, 0 where none falls.

    ``truncate`` takes pixel (0, 0) as [0, 1), so centred at 0.5; ``nearest`` as centred at 0.
    """
    points = points_cam[points_cam[:, 2] > min_depth].astype(np.float64)
    z = points[:, 2]
    u = points[:, 0] / z * intrinsics[0, 0] + intrinsics[0, 2]
    v = points[:, 1] / z * intrinsics[1, 1] + intrinsics[1, 2]
    to_pixel = np.floor if rounding == "truncate" else np.rint
    columns, rows = to_pixel(u), to_pixel(v)
    inside = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    nearest = np.full(size, np.inf, dtype=np.float32)
    pixels = rows[inside].astype(int), columns[inside].astype(int)
    np.minimum.at(nearest, pixels, z[inside].astype(np.float32))
    return np.where(np.isfinite(nearest), nearest, np.float32(0))
