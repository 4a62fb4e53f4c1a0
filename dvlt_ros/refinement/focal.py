"""Whether the focal length that a camera claims is the one that its tracks show."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from .adjusting.adjustment import adjust
from .adjusting.covariance import focal_estimate
from .adjusting.estimate import GOOD_SHARE, Estimate

REMEMBERED_WINDOWS, MIN_WINDOWS = 9, 2
SUSPECT = 0.12  # logarithm of a factor on the focal length that one Newton step sees
WRONG = 0.18
UNMODELLED = np.radians(0.25)  # over the parallax: rolling shutters and drifting tracks look like a focal length
FREE_SPREAD = 0.5  # of the logarithm while it is looked for
ROUNDS = 30
CALM_WINDOWS, PAUSE_WINDOWS = 3, 4


class FocalEvidence:
    """Owns what the last windows have said of one camera's focal length; one window alone is easily deceived."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, float]] = deque(maxlen=REMEMBERED_WINDOWS)
        self._passed = 0  # windows since one was asked

    def reset(self) -> None:
        self._told.clear()
        self._passed = 0

    @property
    def is_due(self) -> bool:
        """Whether the next window is worth asking: only now and then while nothing is suspected."""
        is_calm = len(self._told) >= CALM_WINDOWS and abs(self._mean) < SUSPECT
        return not is_calm or self._passed >= PAUSE_WINDOWS

    def add(self, found: Estimate, parallax: float) -> None:
        """What a window says whose points have a median parallax in radians."""
        self._passed += 1
        if found.inlier_share < GOOD_SHARE or not self.is_due:
            return
        self._passed = 0
        if found.sights.known_depth is not None:
            found = without_memory(found)
        log_focal, spread = focal_estimate(found)
        if abs(log_focal) > SUSPECT:
            log_focal, spread = free_focal(found)
        self._told.append((log_focal, float(np.hypot(spread, UNMODELLED / max(parallax, 1e-4)))))

    @property
    def factor(self) -> float:
        """What the tracks would multiply the focal length by; NaN: nothing was told."""
        return float(np.exp(self._mean)) if self._told else np.nan

    @property
    def deviation(self) -> float:
        """Of the factor's logarithm."""
        return float(1 / np.sqrt(sum(1 / spread**2 for _, spread in self._told))) if self._told else np.nan

    @property
    def is_wrong(self) -> bool:
        return len(self._told) >= MIN_WINDOWS and abs(self._mean) > WRONG + self.deviation

    @property
    def _mean(self) -> float:
        values, weights = np.array([(value, 1 / spread**2) for value, spread in self._told]).T
        return float(values @ weights / weights.sum())


def without_memory(found: Estimate) -> Estimate:
    """The estimate by this window's tracks alone: what is remembered was found with the focal length in question."""
    sights = replace(found.sights, known=(), known_depth=None)
    return replace(
        found, sights=sights, solution=adjust(sights.problem(found.reference), found.solution, 0, with_information=True)
    )


def free_focal(found: Estimate) -> tuple[float, float]:
    """As `covariance.focal_estimate`, but of an adjustment that lets the focal length go: far steps are not linear."""
    problem = replace(found.sights.problem(found.reference), focal_weight=1 / FREE_SPREAD)
    solution = adjust(problem, found.solution, ROUNDS, enough=1e-6, with_information=True)
    return solution.log_focal, focal_estimate(replace(found, solution=solution))[1]
