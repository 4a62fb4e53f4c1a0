"""The poses and points that explain the tracks best, from the start that leads there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..arrays import median
from ..tracking.observations import OUTLIER, RAYLEIGH_MEDIAN, Observations, parallax
from .adjustment import ENOUGH, adjust
from .problem import Solution
from .rotations import inverse
from .start import MIN_SUPPORT, Start

FIRST_ROUNDS, THOROUGH_ROUNDS, LAST_ROUNDS, FOCAL_ROUNDS = 6, 15, 2, 30  # of an adjustment
ROUGHLY = 2e-2  # relative decrease of the cost that a start stops at: it is adjusted once more anyway
MORE_ROUGHLY = 0.3  # the same where starts are not compared
PROMISING = 2.0  # times the cheapest start's cost that a start is given up at
GOOD_SHARE = 0.75  # of a start's sights that fit, so that no other is tried
MIN_SIGHTS = 3  # of a track that may be said to move: two agree with a point for most motions
LEAST_DEVIATION = 0.4  # of the deviation that was assumed for a sight
MOST_DEVIATION = 2.0
OTHER_SCALE = np.log(2.0)  # of a frame, that its camera is misplaced by


@dataclass(frozen=True, eq=False)
class Estimate:
    start: str
    placed: tuple[int, ...]  # frames whose poses the tracks tell
    sights: Observations  # in the placed frames, tracks that two of them see
    solution: Solution  # poses of all frames, points of the sights' tracks
    errors_px: np.ndarray  # (P, S); NaN where not seen
    cost: float  # of all sights in all frames, comparable between starts
    assumed_px: float  # deviation of a sight before the sights have shown theirs

    @cached_property
    def reference(self) -> int:
        return self.placed[int(self.sights.mask[:, self.placed].sum(axis=0).argmax())]

    @cached_property
    def fits(self) -> np.ndarray:
        """(P, S) sights that agree with the solution."""
        fits: np.ndarray = self.errors_px < OUTLIER * self.sights.deviation_px  # NaN does not
        return fits

    @cached_property
    def moves(self) -> np.ndarray:
        """(P,) tracks that no point explains, though enough frames see them, even if sights are as bad as assumed."""
        is_off = self.errors_px > OUTLIER * self.assumed_px
        seen = self.sights.mask.sum(axis=1)
        moves: np.ndarray = (seen >= MIN_SIGHTS) & (2 * is_off.sum(axis=1) > seen)
        return moves

    @cached_property
    def inlier_share(self) -> float:
        return float(self.fits.sum() / max(self.sights.mask.sum(), 1))

    @cached_property
    def whole_share(self) -> float:
        """Of the tracks that enough frames see, those with all their sights at one point. A point absorbs much of what
        moves along its epipolar line, but not in every frame."""
        seen = self.sights.mask.sum(axis=1)
        long = seen >= MIN_SIGHTS
        return float((self.fits.sum(axis=1) == seen)[long].mean()) if long.sum() >= MIN_SUPPORT else 1.0

    @cached_property
    def residual_px(self) -> float:
        """Median over the sights."""
        return median(self.errors_px[self.sights.mask])

    @cached_property
    def parallax(self) -> np.ndarray:
        """(P,) largest angle in radians between the first ray of each track and another."""
        return parallax(self.sights.seen, self.sights.mask, self.solution)

    @cached_property
    def cam_from_reference(self) -> np.ndarray:
        """(S, 4, 4)"""
        poses = self.solution.cam_from_window
        from_reference: np.ndarray = poses @ inverse(poses[self.reference])
        return from_reference

    @cached_property
    def depths(self) -> np.ndarray:
        """(P, S) of the points in the frames' cameras."""
        pose = self.solution.cam_from_window
        depths: np.ndarray = (pose[:, 2, :3] @ self.solution.points.T + pose[:, 2, 3:]).T
        return depths

    @cached_property
    def depth_deviation(self) -> np.ndarray:
        """(P,) standard deviations of the logarithms of the points' depths: what a sight's error is to the parallax,
        and what was known of the depth before."""
        information = np.square(np.maximum(self.parallax, 1e-4) * self.sights.focal / self.sights.deviation_px)
        known = self.sights.known_depth
        if known is not None:
            told = np.where(np.isfinite(known.depth), known.deviation, np.inf).min(axis=1)
            information = np.maximum(information, 1 / np.square(told))  # not the sum: the same sights may be in both
        deviation: np.ndarray = 1 / np.sqrt(information)
        return deviation


def estimated(sights: Observations, start: Start, rounds: int, enough: float = ENOUGH) -> Estimate | None:
    """Adjusted from a start; frames that too few sights agree with are given up. None: fewer than two are left.

    Frames that the start could not place get their chance: often the adjustment draws them in.
    """
    placed = tuple(np.flatnonzero(sights.mask.sum(axis=0) >= MIN_SUPPORT).tolist())
    while len(placed) >= 2:
        used = sights.within(list(placed))
        used = used.select(used.mask.sum(axis=1) >= 2)
        begin = Solution(start.cam_from_window, used.triangulated(start.cam_from_window))
        reference = placed[int(used.mask[:, placed].sum(axis=0).argmax())]
        solution = adjust(used.problem(reference), begin, rounds, enough)
        found = Estimate(start.name, placed, used, solution, used.errors_px(solution), np.inf, used.deviation_px)
        support = found.fits[found.fits.sum(axis=1) >= 2].sum(axis=0)
        held = tuple(s for s in placed if support[s] >= MIN_SUPPORT)
        if held == placed:
            return replace(found, cost=total_cost(sights, found))
        placed = held
    return None


def total_cost(sights: Observations, found: Estimate) -> float:
    """Squared errors of all sights in standard deviations where an outlier begins, at most 1 each (MSAC; Torr and
    Zisserman, MLESAC, 2000); those in frames that are not placed count as outliers.

    How far off outliers are says nothing: of two motions, the one that more sights fit exactly is right more often.
    """
    limit = OUTLIER * sights.deviation_px
    inside = np.minimum(np.square(found.errors_px[found.sights.mask] / limit), 1.0).sum()
    return float(inside + sights.mask.sum() - found.sights.mask.sum())


def likely_estimates(sights: Observations, starts: Iterable[Start], thorough: bool) -> list[Estimate]:
    """Of the starts up to the first good one; of all of them if ``thorough``."""
    return estimates(sights, starts, ROUGHLY if thorough else MORE_ROUGHLY, until_good=not thorough)


def estimates(sights: Observations, starts: Iterable[Start], enough: float, until_good: bool) -> list[Estimate]:
    """Of all starts that lead to any; with ``until_good`` the first good one is the last."""
    tried = []
    for start in starts:
        found = estimated(sights, start, FIRST_ROUNDS, enough)
        if found is None:
            continue
        tried.append(found)
        if until_good and is_good(found):
            break
    return tried


def ranked_estimates(
    sights: Observations, likely: Sequence[Estimate], costly: Iterable[Start], thorough: bool, far_apart: bool
) -> list[Estimate]:
    """The likely ones, and what costly starts lead to where none of those is good; the cheapest first.

    If ``thorough``, costly starts are tried in any case, and the promising ones of all, where there are several, are
    adjusted to their ends before they are compared. Frames that are ``far_apart`` deceive more often: a good start does
    not end the search.
    """
    tried = list(likely)
    if thorough or not any(is_good(found) for found in tried):
        tried += estimates(sights, costly, ROUGHLY if thorough else ENOUGH, until_good=not far_apart)
    if thorough and tried:
        most = PROMISING * min(found.cost for found in tried)
        tried = [found for found in tried if found.cost <= most]
    if thorough and len(tried) > 1:
        tried = [to_its_end(sights, found) for found in tried]
    if sights.known_depth is None:
        tried = [agreeing_on_scale(sights, found) for found in tried]
    return sorted(tried, key=lambda found: found.cost)


def to_its_end(sights: Observations, found: Estimate) -> Estimate:
    return estimated(sights, Start(found.start, found.solution.cam_from_window), THOROUGH_ROUNDS) or found


def agreeing_on_scale(sights: Observations, found: Estimate) -> Estimate:
    """Without the frames whose points are nearer or farther than the network sees them by another factor than the rest.

    With few sights, a camera fits its epipolar lines from places where it never was.
    """
    ratios = np.log(np.where(found.fits & (found.depths > 0), found.depths, np.nan) / found.sights.depth).T
    known = np.isfinite(ratios)
    told = {s: median(ratios[s][known[s]]) for s in found.placed if known[s].sum() >= MIN_SUPPORT}
    usual = median(np.array([*told.values()])) if len(told) > 2 else np.nan  # of two there is no usual one
    others = [s for s, ratio in told.items() if abs(ratio - usual) > OTHER_SCALE]
    if not others:
        return found
    mask = sights.mask.copy()
    mask[:, others] = False
    rest = replace(sights, mask=mask).select(mask.sum(axis=1) >= 2)
    kept = estimated(rest, Start(found.start, found.solution.cam_from_window), THOROUGH_ROUNDS)
    return found if kept is None else replace(kept, cost=total_cost(sights, kept))


def is_good(found: Estimate) -> bool:
    return found.inlier_share >= GOOD_SHARE and len(found.placed) == found.sights.mask.shape[1]


def with_poses(found: Estimate, cam_from_window: np.ndarray) -> Estimate:
    """The same tracks seen from other poses (S, 4, 4), which stay."""
    points = found.sights.triangulated(cam_from_window)
    solution = replace(found.solution, cam_from_window=cam_from_window, points=points)
    return replace(found, solution=solution, errors_px=found.sights.errors_px(solution))


def finished(found: Estimate, focal_weight: float) -> Estimate:
    """Adjusted once more, by the spread that the sights have shown; ``focal_weight`` as in `Problem`."""
    shown = found.residual_px / RAYLEIGH_MEDIAN / found.sights.deviation_px
    deviation = found.sights.deviation_px * float(np.clip(shown, LEAST_DEVIATION, MOST_DEVIATION))
    sights = replace(found.sights, deviation_px=deviation)
    problem = replace(sights.problem(found.reference), focal_weight=focal_weight)
    is_fixed = np.isinf(focal_weight)
    rounds, enough = (LAST_ROUNDS, ENOUGH) if is_fixed else (FOCAL_ROUNDS, 1e-6)  # the valley of focal lengths is flat
    solution = adjust(problem, found.solution, rounds, enough, with_information=True)
    return replace(found, sights=sights, solution=solution, errors_px=sights.errors_px(solution))
