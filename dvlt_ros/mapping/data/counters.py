"""Counts of frames by what happened to them; every accepted frame is published, dropped or still in flight."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FrameCounts:
    """``accepted = published + dropped + those in flight``, at any moment."""

    refused: int = 0  # unreadable, without a stamp, out of order
    passed_over: int = 0  # not keyframes
    accepted: int = 0
    published: int = 0
    dropped: int = 0

    @property
    def in_flight(self) -> int:
        return self.accepted - self.published - self.dropped


class Counters:
    """`FrameCounts` that several threads may change and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = FrameCounts()

    def add(self, **changes: int) -> None:
        """Adds to the fields of `FrameCounts` named by the keywords, all at once."""
        with self._lock:
            self._counts = replace(
                self._counts, **{name: getattr(self._counts, name) + change for name, change in changes.items()}
            )

    def read(self) -> FrameCounts:
        """All counts at one instant."""
        with self._lock:
            return self._counts
