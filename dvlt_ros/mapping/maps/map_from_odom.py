"""``map_from_odom`` as it is published: except at breaks and loop closures it moves in small steps.

The estimate from the images changes by more than a navigator tolerates, above all far from the odometry's origin: half
a degree moves the robot by almost a metre at 100 m. What exceeds a step is left to the next ones; meanwhile the robot's
pose follows the odometry.
"""

from __future__ import annotations

import numpy as np
import torch

from ...geometry import rotation_angle
from ..sensors.odometry import CameraInOdom, interpolate, inverse

MAX_STEP_M = 0.045  # from window to window
MAX_STEP_RAD = np.radians(0.45)
MARGIN = 0.99  # a path is not quite straight
MAX_BEHIND_M = 1.0  # of map_from_odom; it is further behind if the wheels slip, or stand still while the camera moves


class OdomInMap:
    """Pose of odom in the map; ``seen`` is map_from_cam (4, 4) of a camera by the visual map alone."""

    def __init__(self) -> None:
        self.disagreement = ""  # between odometry and images, if more than small steps can correct; empty: none
        self.map_from_odom = np.eye(4)  # metres
        self._map_from_seen = np.eye(4)  # the part of the correction that map_from_odom still lacks
        self._epoch: int | None = None  # of the odometry

    def begin(self) -> None:
        """Another map begins, with the frame of odom."""
        self._lay(np.eye(4))

    def has_broken(self, camera: CameraInOdom) -> bool:
        """Whether another odometry epoch has begun since the camera before; called for every camera, in order."""
        before, self._epoch = self._epoch, camera.epoch
        return before is not None and before != camera.epoch

    def lay(self, seen: np.ndarray, camera: CameraInOdom) -> None:
        """Sets map_from_odom at once such that odometry and images agree at this camera."""
        self._lay(seen @ inverse(camera.odom_from_cam))

    def move(self, new_from_old: np.ndarray) -> None:
        """Moves map_from_odom at once, by the motion (4, 4) of the map at the robot."""
        self._lay(new_from_old @ self.map_from_odom)

    def stay(self) -> None:
        """The visual map has been placed by the odometry: the two agree."""
        self._lay(self.map_from_odom)

    def follow(self, seen: np.ndarray, camera: CameraInOdom | None) -> None:
        """A small step towards the pose of the robot in the visual map; none without odometry."""
        self.disagreement = ""
        if camera is None:
            return
        target = seen @ inverse(camera.odom_from_cam)
        self.map_from_odom = step_towards(self.map_from_odom, target, camera.odom_from_cam)
        self._map_from_seen = self.map_from_odom @ inverse(target)
        behind_m = float(np.linalg.norm(((self.map_from_odom - target) @ camera.odom_from_cam)[:3, 3]))
        if behind_m > MAX_BEHIND_M:
            self.disagreement = f"odometry and images are {behind_m:.1f} m apart; do the wheels slip?"

    def map_from_cam(self, camera: CameraInOdom | None) -> np.ndarray | None:
        """(4, 4) by odometry; None: there is none at this camera, or only of another epoch."""
        if camera is None or camera.epoch != self._epoch:
            return None
        return self.map_from_odom @ camera.odom_from_cam

    def published(self, seen: np.ndarray, camera: CameraInOdom | None) -> np.ndarray:
        """map_from_cam (4, 4) by odometry, as on TF; without odometry by the visual map."""
        by_odometry = self.map_from_cam(camera)
        return self._map_from_seen @ seen if by_odometry is None else by_odometry

    def _lay(self, map_from_odom: np.ndarray) -> None:
        self.map_from_odom = map_from_odom
        self._map_from_seen = np.eye(4)
        self.disagreement = ""


def step_towards(current: np.ndarray, target: np.ndarray, odom_from_cam: np.ndarray) -> np.ndarray:
    """map_from_odom (4, 4), rigid, moved from ``current`` towards ``target`` as far as one window may move it.

    Neither the camera nor the odometry's origin moves by more than MAX_STEP_M; the rotation is about the camera.
    """
    start = current @ odom_from_cam
    end = target @ odom_from_cam
    share = 1.0
    reached = target
    while (excess := _size(current, reached, odom_from_cam)) > 1:
        share *= MARGIN / excess
        reached = interpolate(start, end, share) @ inverse(odom_from_cam)
    return reached


def _size(before: np.ndarray, after: np.ndarray, odom_from_cam: np.ndarray) -> float:
    """Size of a step, relative to the largest one that is allowed."""
    ends = np.stack([odom_from_cam[:, 3], [0.0, 0.0, 0.0, 1.0]], axis=1)
    moved = float(np.linalg.norm(((after - before) @ ends)[:3], axis=0).max())
    turned = float(rotation_angle(torch.from_numpy(before[:3, :3].T @ after[:3, :3])))
    return max(moved / MAX_STEP_M, turned / MAX_STEP_RAD)
