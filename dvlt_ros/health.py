"""Health of a component: a level and a sentence. Status and diagnostics collect them from all components."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """The values are those of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Health:
    """``text`` gives the measurement, then a possible cause."""

    level: Level
    text: str

    @classmethod
    def ok(cls, text: str = "") -> Health:
        return cls(Level.OK, text)

    @classmethod
    def warn(cls, text: str) -> Health:
        return cls(Level.WARN, text)

    @classmethod
    def error(cls, text: str) -> Health:
        return cls(Level.ERROR, text)

    @classmethod
    def unless(cls, problem: str, level: Level = Level.WARN) -> Health:
        """OK if there is no problem."""
        return cls(level, problem) if problem else cls.ok()


def worst(healths: Iterable[Health]) -> Health:
    """The first one of the highest level; OK if there is none."""
    return max(healths, key=lambda health: health.level, default=Health.ok())
