"""Depth of one camera as another camera of the same rig sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAME_SURFACE = 1.05  # points of a pixel within this factor of the nearest belong to its surface


@dataclass(frozen=True, eq=False)
class DepthCamera:
    """The camera of depth images that are not registered to the colour images."""

    intrinsics: np.ndarray  # (3, 3), pixel (0, 0) centred at (0.5, 0.5)
    colour_from_depth: np.ndarray  # (4, 4), metres

    def registered(self, depth: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Its depth (h, w) in the pixels (height, width) of the colour camera with these intrinsics."""
        return register_depth(depth, self.intrinsics, self.colour_from_depth, intrinsics, size)


def register_depth(
    depth: np.ndarray,
    intrinsics: np.ndarray,
    target_from_depth: np.ndarray,
    target_intrinsics: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """Depth (h, w) of a pinhole camera in the pixels (height, width) of another; the nearest surface wins.

    Pixels that no depth falls on stay 0, so a depth image of lower resolution becomes a sparse one.
    Intrinsics (3, 3), target_from_depth (4, 4) in metres.
    """
    rows, columns = np.nonzero(depth > 0)
    z = depth[rows, columns].astype(np.float64)
    x = (columns + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0] * z
    y = (rows + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1] * z
    points = np.stack([x, y, z], axis=-1) @ target_from_depth[:3, :3].T + target_from_depth[:3, 3]
    points = points[points[:, 2] > 0]
    z = points[:, 2]
    u = points[:, 0] / z * target_intrinsics[0, 0] + target_intrinsics[0, 2]
    v = points[:, 1] / z * target_intrinsics[1, 1] + target_intrinsics[1, 2]
    inside = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    u, v, z = u[inside], v[inside], z[inside].astype(np.float32)
    rows, columns = v.astype(int), u.astype(int)
    nearest = np.full(size, np.inf, dtype=np.float32)
    np.minimum.at(nearest, (rows, columns), z)
    # Of one surface's points in a pixel, the one next to its centre: the nearest would lean towards the camera.
    front = np.flatnonzero(z <= SAME_SURFACE * nearest[rows, columns])
    front = front[np.argsort(-np.hypot(u - columns - 0.5, v - rows - 0.5)[front], kind="stable")]
    registered = np.zeros(size, dtype=np.float32)
    registered[rows[front], columns[front]] = z[front]  # the last one written stays
    return registered
