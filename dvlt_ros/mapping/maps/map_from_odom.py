"""``map_from_odom`` as others may see it: but for breaks and loops it never moves much at once.

What the images say of it changes by more than a navigator likes, above all far from the odometry's origin: half a
degree moves it by almost a metre at 100 m. What a step may not change waits for the next ones; until then the wheels
carry the robot.
"""

from __future__ import annotations

import numpy as np
import torch

from ...geometry import rotation_angle
from ..sensors.odometry import CameraInOdom, interpolate, inverse

MAX_STEP_M, MAX_STEP_RAD = 0.045, np.radians(0.45)  # from window to window
MARGIN = 0.99  # a path is not quite straight
MAX_BEHIND_M = 1.0  # of map_from_odom; wheels that slip or stand still while the camera moves are further off


class OdomInMap:
    """Where odom lies in the map; ``seen`` is map_from_cam (4, 4) of a camera by the visual map alone."""

    def __init__(self) -> None:
        self.disagreement = ""  # by how much more the wheels are wrong than small steps can mend, or the images
        self.map_from_odom = np.eye(4)  # metres
        self._map_from_seen = np.eye(4)  # map_from_odom lags behind what is seen: its part that is still missing
        self._epoch: int | None = None  # of the odometry

    def begin(self) -> None:
        """Another map, which is odom."""
        self._lay(np.eye(4))

    def has_broken(self, camera: CameraInOdom) -> bool:
        """Whether odometry has begun anew since the camera that was asked about before; every one is, in order."""
        before, self._epoch = self._epoch, camera.epoch
        return before is not None and before != camera.epoch

    def lay(self, seen: np.ndarray, camera: CameraInOdom) -> None:
        """At once, to where it makes the wheels say what is seen."""
        self._lay(seen @ inverse(camera.odom_from_cam))

    def move(self, new_from_old: np.ndarray) -> None:
        """At once, with the map (4, 4) at the robot."""
        self._lay(new_from_old @ self.map_from_odom)

    def stay(self) -> None:
        """The visual map has been laid by the wheels: nothing is missing."""
        self._lay(self.map_from_odom)

    def follow(self, seen: np.ndarray, camera: CameraInOdom | None) -> None:
        """A small step towards where the visual map has the robot; none where the wheels do not say."""
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
        """(4, 4) by the wheels; None: they do not say, or not since they began anew."""
        if camera is None or camera.epoch != self._epoch:
            return None
        return self.map_from_odom @ camera.odom_from_cam

    def published(self, seen: np.ndarray, camera: CameraInOdom | None) -> np.ndarray:
        """map_from_cam (4, 4) by the wheels, as TF has it too; where they are not known, by what is seen."""
        by_odometry = self.map_from_cam(camera)
        return self._map_from_seen @ seen if by_odometry is None else by_odometry

    def _lay(self, map_from_odom: np.ndarray) -> None:
        self.map_from_odom, self._map_from_seen, self.disagreement = map_from_odom, np.eye(4), ""


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
