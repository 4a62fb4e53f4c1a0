"""Where every frame went. Accepted frames are published, dropped, or still on their way; none is lost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FrameCounts:
    """``accepted = published + dropped + those in flight``, at any moment."""

    refused: int = 0  # unreadable, without a stamp, out of order
    passed_over: int = 0  # no keyframes
    accepted: int = 0
    published: int = 0
    dropped: int = 0

    @property
    def in_flight(self) -> int:
        return self.accepted - self.published - self.dropped


class Counters:
    """Thread-safe `FrameCounts`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = FrameCounts()

    def add(self, **changes: int) -> None:
        with self._lock:
            self._counts = replace(
                self._counts, **{name: getattr(self._counts, name) + change for name, change in changes.items()}
            )

    def read(self) -> FrameCounts:
        with self._lock:
            return self._counts
