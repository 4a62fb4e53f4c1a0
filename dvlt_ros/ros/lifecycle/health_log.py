"""Troubles that last, on the console: one line when one begins, and one when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...health import Health, Level

CALM_S = 3.0  # without trouble it has ended: a window that goes well between two that do not is no end
SAID_EACH_TIME = {"images", "mapping", "publication"}  # of these each frame or window says its own
ENDS = {
    "camera": "images arrive again",
    "localization": "the camera is found in the saved map",
    "output": "depth, points, poses and TF are published",
    "scale": "depth, points, poses and TF are published in metres",
}


@dataclass
class Trouble:
    level: Level
    since_s: float
    latest_s: float


class HealthLog:
    """Follows the health of all components; the node tells it once a second while it is active."""

    def __init__(self, say: Mapping[Level, Callable[[str], object]]) -> None:
        """``say`` takes a line of each level."""
        self._say = say
        self._troubles: dict[str, Trouble] = {}

    def follow(self, found: Mapping[str, Health], now_s: float) -> None:
        """``now_s`` is of a steady clock. A component that is not in use any more has no trouble either."""
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if name in found}
        for name, health in found.items():
            if name not in SAID_EACH_TIME:
                self._follow(name, health, now_s)

    def _follow(self, name: str, health: Health, now_s: float) -> None:
        trouble = self._troubles.get(name)
        if health.level > Level.OK:
            if trouble is None:
                trouble = self._troubles[name] = Trouble(Level.OK, now_s, now_s)
            trouble.latest_s = now_s
            if health.level > trouble.level:
                trouble.level = health.level
                self._say[health.level](f"{name}: {health.text}")
        elif trouble is not None and now_s - trouble.latest_s >= CALM_S:
            del self._troubles[name]
            lasted_s = trouble.latest_s - trouble.since_s
            self._say[Level.OK](f"{name}: {ENDS.get(name, 'in order again')}, after {lasted_s:.0f} s")
