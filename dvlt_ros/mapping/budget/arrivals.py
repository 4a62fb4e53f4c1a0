"""How often frames come."""

from __future__ import annotations

from collections import deque

REMEMBERED = 20


class Arrivals(deque[int]):
    """Times of the latest frames that were taken, ns, steady clock."""

    def __init__(self) -> None:
        super().__init__(maxlen=REMEMBERED)

    @property
    def interval_ms(self) -> float | None:
        """From one to the next, on average; None: there were not two."""
        return None if len(self) < 2 else (self[-1] - self[0]) * 1e-6 / (len(self) - 1)
