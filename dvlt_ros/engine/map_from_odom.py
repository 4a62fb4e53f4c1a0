"""The robot's ``map_from_odom`` as others may see it: smooth between loop closures, at once where the map jumps.

What seams and odometry say together changes by more than a navigator likes, above all far from the odometry's origin:
half a degree moves it by almost a metre at 100 m. What a step may not change waits for the next ones; until then the
wheels carry the robot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .config import check_parameters, parameter
from .odometry import interpolate, inverse


@dataclass(frozen=True)
class SmoothingConfig:
    max_step_m: float = parameter(
        0.045, "map_from_odom moves by no more per window, at the robot and at the odometry's origin", 1e-4, 10.0, True
    )
    max_step_deg: float = parameter(0.45, "map_from_odom turns by no more per window", 1e-3, 180.0, True)

    def __post_init__(self) -> None:
        check_parameters(self)


class MapFromOdom:
    """``value`` follows what `update` is given."""

    def __init__(self, config: SmoothingConfig | None = None) -> None:
        self.config = config or SmoothingConfig()
        self.value: np.ndarray | None = None  # (4, 4) float64; None before the first window

    def restart(self) -> None:
        """Another map, or another run of the odometry: what comes next has nothing to do with what was."""
        self.value = None

    def update(self, map_from_base: np.ndarray, odom_from_base: np.ndarray, jump: bool = False) -> np.ndarray:
        """map_from_odom (4, 4) after a window.

        Args:
            map_from_base, odom_from_base: (4, 4), rigid, metres, of one moment: from the graph, from the wheels.
            jump: the map has just closed a loop.
        """
        target = map_from_base @ inverse(odom_from_base)
        if self.value is None or jump:
            self.value = target
            return target.copy()
        base_in_odom = odom_from_base[:3, 3]
        share = 1.0
        step = self._size(target, base_in_odom)
        while step > 1:
            share *= 0.99 / step
            moved = interpolate(self.value @ _at(base_in_odom), target @ _at(base_in_odom), share) @ _at(-base_in_odom)
            step = self._size(moved, base_in_odom)
            if step <= 1:
                target = moved
        self.value = target
        return target.copy()

    def _size(self, target: np.ndarray, base_in_odom: np.ndarray) -> float:
        """Of a step, relative to what is allowed."""
        assert self.value is not None
        ends = np.array([[0, 0, 0, 1], [*base_in_odom, 1]]).T
        moved = np.linalg.norm((target @ ends - self.value @ ends)[:3], axis=0).max()
        apart = self.value[:3, :3].T @ target[:3, :3]
        turned = np.degrees(2 * np.arcsin(min(1.0, float(np.linalg.norm(apart - np.eye(3))) / 8**0.5)))
        return float(max(moved / self.config.max_step_m, turned / self.config.max_step_deg))


def _at(position: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = position
    return pose
