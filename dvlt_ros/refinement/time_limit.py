"""How long a window's refinement may take, and what each of its parts has cost so far.

A part begins only if what it usually costs at most still fits, so that a window exceeds its limit by no more than the
part that took longer than ever before.
"""

from __future__ import annotations

import math
import time
from typing import Literal

Part = Literal["tracking", "adjustment", "another start", "check", "descriptors", "depth", "dense depth"]

FIRST_MS: dict[Part, float] = {  # of a frame, about, until it is measured
    "tracking": 3.0, "adjustment": 3.0, "another start": 4.0, "check": 1.0, "descriptors": 180.0, "depth": 2.0,
    "dense depth": 40.0,
}  # fmt: skip
LEARNING = 0.25  # share of the latest measurement
CAREFUL = 2.0  # mean deviations above the mean
RELENTING = 0.97  # per window that leaves a part out: it, and what would have had to follow, may have become cheaper
EXTRA: frozenset[Part] = frozenset(("another start", "descriptors", "dense depth"))  # the rest runs without them


class PartCosts:
    """Owns mean and mean deviation of each part's time per frame, as on this machine under its present load."""

    def __init__(self) -> None:
        self._mean_ms = dict(FIRST_MS)
        self._deviation_ms = dict.fromkeys(FIRST_MS, 0.0)
        self._measured: set[Part] = set()

    def usual_ms(self, part: Part, frames: int) -> float:
        return self._mean_ms[part] * frames

    def most_ms(self, part: Part, frames: int) -> float:
        """What it hardly ever exceeds."""
        return (self._mean_ms[part] + CAREFUL * self._deviation_ms[part]) * frames

    def learn(self, part: Part, frames: int, spent_ms: float) -> None:
        if not frames:
            return
        each_ms = spent_ms / frames
        if part not in self._measured:
            self._measured.add(part)
            self._mean_ms[part] = each_ms
            return
        away_ms = each_ms - self._mean_ms[part]
        self._mean_ms[part] += LEARNING * away_ms
        self._deviation_ms[part] += LEARNING * (abs(away_ms) - self._deviation_ms[part])

    def relent(self, part: Part) -> None:
        """Makes a part that did not run a little cheaper, so that it is tried again."""
        self._mean_ms[part] *= RELENTING
        self._deviation_ms[part] *= RELENTING


class TimeLimit:
    """Of one window; it begins now."""

    def __init__(self, costs: PartCosts, limit_ms: float = math.inf) -> None:
        self.left_out: tuple[Part, ...] = ()
        self.detail = ""  # of what was left out last
        self._costs = costs
        self._limit_ms = limit_ms
        self._start_s = self._part_s = time.perf_counter()

    def allows(
        self, part: Part, frames: int, following: tuple[tuple[Part, int], ...] = (), is_extra: bool = False
    ) -> bool:
        """Whether a part of so many frames, and those that have to follow it, still fit; it begins now.

        If not, it is noted as left out, unless it is an extra: for those the budget has planned no time.
        """
        now_s = time.perf_counter()
        if math.isfinite(self._limit_ms):
            left_ms = self._limit_ms - 1e3 * (now_s - self._start_s)
            parts = ((part, frames), *following)
            needed_ms = sum(self._costs.most_ms(*each) for each in parts)
            if left_ms < needed_ms:
                for name, _ in parts[:1] if part in EXTRA else parts:
                    self._costs.relent(name)
                if not is_extra:
                    self.left_out = (*self.left_out, part)
                    self.detail = f"{part}: {max(left_ms, 0.0):.0f} ms remained, {needed_ms:.0f} needed"
                return False
        self._part_s = now_s
        return True

    def took(self, part: Part, frames: int) -> None:
        """A part that `allows` began ends now."""
        now_s = time.perf_counter()
        self._costs.learn(part, frames, 1e3 * (now_s - self._part_s))
        self._part_s = now_s
