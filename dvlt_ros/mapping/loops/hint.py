"""A pose hint: about where the camera is in the saved map, from a person or from what knew the robot before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..sensors.odometry import CameraInOdom, OdometryError, inverse
from ..submaps.submap import StoredSubmap

LookUp = Callable[[int, str], CameraInOdom]  # a camera (frame_id) at a stamp in ns, or OdometryError

SIGMAS = 3.0  # from the hint to the truth, at most
LEAST_POSITION, LEAST_TURN_RAD = 0.5, math.radians(15)  # standard deviations of a click on a map
SPEED = 1.0  # unit of the map per second that a robot without odometry may have driven since
LASTS_S = 30.0  # without odometry
HURRY_NS = 3_000_000_000  # windows are smaller for so long; a hint that has not helped by then may be wrong
SEEN_FROM = 2.0  # a saved place this much farther away still shows the same surfaces
SEEN_TURN_RAD = math.radians(45)


@dataclass(frozen=True, eq=False)
class PoseHint:
    """Only the position in the plane and the viewing direction count: maps without gravity have no known height."""

    map_from_cam: np.ndarray  # (4, 4), rigid, in the saved map
    stamp_ns: int
    frame_id: str  # of the camera
    position: float = LEAST_POSITION  # standard deviation, the map's unit
    turn_rad: float = LEAST_TURN_RAD  # standard deviation

    def __post_init__(self) -> None:
        if self.map_from_cam.shape != (4, 4) or not np.isfinite(self.map_from_cam).all():
            raise InputError("a pose hint must be a finite pose (4, 4)")

    def at(self, stamp_ns: int, frame_id: str, look_up: LookUp | None) -> Expected | None:
        """Where a camera is expected at a stamp; None: the hint says nothing of it any more."""
        position = SIGMAS * max(self.position, LEAST_POSITION)
        turn_rad = SIGMAS * max(self.turn_rad, LEAST_TURN_RAD)
        if look_up is not None:
            try:
                before, now = look_up(self.stamp_ns, self.frame_id), look_up(stamp_ns, frame_id)
            except OdometryError:
                pass
            else:
                if before.epoch == now.epoch:
                    moved = inverse(before.odom_from_cam) @ now.odom_from_cam
                    return Expected(self.map_from_cam @ moved, position, turn_rad)
        elapsed_s = abs(stamp_ns - self.stamp_ns) * 1e-9
        if elapsed_s > LASTS_S or frame_id != self.frame_id:
            return None
        return Expected(self.map_from_cam, position + SPEED * elapsed_s, turn_rad)


@dataclass(frozen=True, eq=False)
class Expected:
    """A camera as a hint has it, and how far the truth may lie from that."""

    map_from_cam: np.ndarray  # (4, 4)
    position: float
    turn_rad: float

    def agrees(self, map_from_cam: np.ndarray) -> bool:
        """Whether a camera (4, 4) that was found lies where it is expected."""
        away, turned = self._difference(map_from_cam)
        return away <= self.position and turned <= self.turn_rad

    def nearest(self, stored: Sequence[StoredSubmap], count: int) -> list[int]:
        """Numbers of the saved submaps that may show what the camera sees there, the likeliest first."""
        costs = []
        for submap in stored:
            away, turned = self._difference(submap.views[-1].anchor.map_from_cam)
            if away <= self.position + SEEN_FROM and turned <= self.turn_rad + SEEN_TURN_RAD:
                costs.append((away / self.position + turned / self.turn_rad, submap.number))
        return [number for _, number in sorted(costs)[:count]]

    def _difference(self, map_from_cam: np.ndarray) -> tuple[float, float]:
        """Distance in the plane, and angle between the viewing directions."""
        away = float(np.linalg.norm(map_from_cam[:2, 3] - self.map_from_cam[:2, 3]))
        cosine = float(map_from_cam[:3, 2] @ self.map_from_cam[:3, 2])
        return away, math.acos(max(-1.0, min(1.0, cosine)))
