"""The poses and points that explain the tracks best, from the start that leads there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from .adjustment import adjust
from .observations import OUTLIER, RAYLEIGH_MEDIAN, Observations
from .problem import Solution
from .start import MIN_SUPPORT, Start

FIRST_ROUNDS = 8
LAST_ROUNDS = 6
GOOD_SHARE = 0.75  # of a start's sights that fit, so that no other is tried
LEAST_DEVIATION = 0.4  # of the deviation that was assumed for a sight
MOST_DEVIATION = 2.0


@dataclass(frozen=True, eq=False)
class Estimate:
    start: str
    placed: tuple[int, ...]  # frames whose poses the tracks tell
    sights: Observations  # in the placed frames, tracks that two of them see
    solution: Solution  # poses of all frames, points of the sights' tracks
    errors_px: np.ndarray  # (P, S); NaN where not seen
    cost: float  # of all sights in all frames, comparable between starts

    @property
    def reference(self) -> int:
        return self.placed[int(self.sights.mask[:, self.placed].sum(axis=0).argmax())]

    @property
    def fits(self) -> np.ndarray:
        """(P, S) sights that agree with the solution."""
        return np.nan_to_num(self.errors_px, nan=np.inf) < OUTLIER * self.sights.deviation_px

    @property
    def inlier_share(self) -> float:
        return float(self.fits.sum() / max(self.sights.mask.sum(), 1))

    @property
    def residual_px(self) -> float:
        """Median over the sights."""
        return float(np.nanmedian(self.errors_px))


def estimated(sights: Observations, start: Start, rounds: int = FIRST_ROUNDS) -> Estimate:
    """Adjusted from a start; frames that too few sights agree with are given up.

    Frames that the start could not place get their chance: often the adjustment draws them in.
    """
    placed = tuple(np.flatnonzero(sights.mask.sum(axis=0) >= MIN_SUPPORT).tolist())
    while True:
        used = sights.within(list(placed))
        used = used.select(used.mask.sum(axis=1) >= 2)
        begin = Solution(start.cam_from_window, used.triangulated(start.cam_from_window))
        reference = placed[int(used.mask[:, placed].sum(axis=0).argmax())]
        solution = adjust(used.problem(reference), begin, rounds)
        found = Estimate(start.name, placed, used, solution, used.errors_px(solution), np.inf)
        support = found.fits[found.fits.sum(axis=1) >= 2].sum(axis=0)
        held = tuple(s for s in placed if support[s] >= MIN_SUPPORT)
        if len(held) == len(placed) or len(held) < 2:
            break
        placed = held
    return replace(found, placed=held, cost=total_cost(sights, found))


def total_cost(sights: Observations, found: Estimate) -> float:
    """Cauchy's cost of all sights; those in frames that are not placed count as outliers."""
    limit = OUTLIER * sights.deviation_px
    inside = np.log1p(np.square(found.errors_px[found.sights.mask] / limit)).sum()
    return float(inside + np.log1p(9.0) * (sights.mask.sum() - found.sights.mask.sum()))


def best_estimate(sights: Observations, likely: Iterable[Start], costly: Iterable[Start], thorough: bool) -> Estimate:
    """Of all likely starts, and of the costly ones where those explain too little, or if ``thorough``."""
    found = [estimated(sights, start) for start in likely if len(start.placed) >= 2]
    best = min(found, key=lambda e: e.cost, default=None)
    if thorough or best is None or best.inlier_share < GOOD_SHARE or len(best.placed) < sights.mask.shape[1]:
        found += [estimated(sights, start) for start in costly]
    return min(found, key=lambda e: e.cost)


def finished(found: Estimate) -> Estimate:
    """Adjusted once more, by the spread that the sights have shown."""
    shown = found.residual_px / RAYLEIGH_MEDIAN / found.sights.deviation_px
    deviation = found.sights.deviation_px * float(np.clip(shown, LEAST_DEVIATION, MOST_DEVIATION))
    sights = replace(found.sights, deviation_px=deviation)
    solution = adjust(sights.problem(found.reference), found.solution, LAST_ROUNDS)
    return replace(found, sights=sights, solution=solution, errors_px=sights.errors_px(solution))
