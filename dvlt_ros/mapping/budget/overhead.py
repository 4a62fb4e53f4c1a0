"""Time from a window's prediction to the publication of its frames: registration, map, messages."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from ...robust import deviation

REMEMBERED = 9  # windows: a new level counts after five
REMEMBERED_SPREAD = 41  # windows over which the relative spread is taken
FIRST_SPREAD = 0.15  # prior; one window gives no spread


class Overhead:
    """Robust median and relative deviation of the overhead; 1 ms is added, so that tiny times do not matter."""

    def __init__(self) -> None:
        self.median_ms = 0.0
        self._deviation = 0.0
        self._recent_ms: deque[float] = deque(maxlen=REMEMBERED)
        self._spreads: deque[float] = deque(maxlen=REMEMBERED_SPREAD)

    def observe(self, overhead_ms: float) -> None:
        """Learns from one window."""
        known = bool(self._recent_ms)
        self._spreads.append(abs(math.log((overhead_ms + 1) / (self.median_ms + 1))) if known else FIRST_SPREAD)
        self._recent_ms.append(overhead_ms)
        self.median_ms = median(self._recent_ms)
        self._deviation = deviation(self._spreads, 0.0)

    def margin_ms(self, quantile: float) -> float:
        """Above the median, at so many standard deviations."""
        return (self.median_ms + 1) * math.expm1(quantile * self._deviation)
