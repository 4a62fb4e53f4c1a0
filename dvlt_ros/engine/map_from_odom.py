"""``map_from_odom`` as others may see it: it never moves much at once.

What the images say of it changes by more than a navigator likes, above all far from the odometry's origin: half a
degree moves it by almost a metre at 100 m. What a step may not change waits for the next ones; until then the wheels
carry the robot.
"""

from __future__ import annotations

import numpy as np
import torch

from ..geometry import rotation_angle
from .odometry import interpolate, inverse

MAX_STEP_M, MAX_STEP_RAD = 0.045, np.radians(0.45)  # from window to window
MARGIN = 0.99  # a path is not quite straight


def step_towards(current: np.ndarray, target: np.ndarray, odom_from_cam: np.ndarray) -> np.ndarray:
    """map_from_odom (4, 4), rigid, from ``current`` as far to ``target`` as one window may move it.

    Neither the camera nor the odometry's origin moves by more than MAX_STEP_M; it turns about the camera.
    """
    start, end, share, reached = current @ odom_from_cam, target @ odom_from_cam, 1.0, target
    while (excess := _size(current, reached, odom_from_cam)) > 1:
        share *= MARGIN / excess
        reached = interpolate(start, end, share) @ inverse(odom_from_cam)
    return reached


def _size(before: np.ndarray, after: np.ndarray, odom_from_cam: np.ndarray) -> float:
    """Of a step, relative to what is allowed."""
    ends = np.stack([odom_from_cam[:, 3], [0.0, 0.0, 0.0, 1.0]], axis=1)
    moved = float(np.linalg.norm(((after - before) @ ends)[:3], axis=0).max())
    turned = float(rotation_angle(torch.from_numpy(before[:3, :3].T @ after[:3, :3])))
    return max(moved / MAX_STEP_M, turned / MAX_STEP_RAD)
