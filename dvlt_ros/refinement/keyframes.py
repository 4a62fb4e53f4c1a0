"""Keyframes of many windows adjusted together, by the tracks that go through them.

A window hands its unit of length on through the few frames that it shares with the next, so that the unit drifts. Many
tracks are seen far longer than a window: one keyframe of each window, adjusted together, holds the unit over all of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .adjusting.adjustment import adjust
from .adjusting.problem import Solution
from .adjusting.rotations import inverse
from .arrays import found_in, median
from .tracking.observations import OUTLIER, Observations

MIN_SHARED = 15  # tracks that neighbours share, and sights of a keyframe that fit
ROUNDS, ENOUGH = 25, 1e-5
MIN_FITTING = 0.6  # share of the sights


@dataclass(frozen=True, eq=False)
class Keyframe:
    """What one frame sees of the points that its window's tracks tell."""

    tracks: np.ndarray  # (N,) int, ascending numbers
    seen: np.ndarray  # (N, 2), x / z and y / z
    depth: np.ndarray  # (N,) of the points, in a unit of its own
    deviation: float  # standard deviation of a sight, in the same coordinates as ``seen``

    def __post_init__(self) -> None:
        if not len(self.tracks) == len(self.seen) == len(self.depth) or np.any(np.diff(self.tracks) <= 0):
            raise InputError("a keyframe has one sight and one depth of each track, and tracks in ascending order")

    def num_shared(self, other: Keyframe) -> int:
        """Tracks that both see."""
        return len(found_in(self.tracks, other.tracks)[0])


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Neighbours among the keyframes that were given, as the tracks tell them."""

    told: slice  # which they are
    poses: np.ndarray  # (N, 4, 4) world_from_cam
    unit: np.ndarray  # (N,) of each keyframe's depth, in the world's unit


def latest_run(keyframes: Sequence[Keyframe]) -> int:
    """How many of the last keyframes are a chain whose neighbours share enough tracks."""
    count = min(len(keyframes), 1)
    while count < len(keyframes) and keyframes[-count - 1].num_shared(keyframes[-count]) >= MIN_SHARED:
        count += 1
    return count


def adjusted_together(keyframes: Sequence[Keyframe], world_from_cam: np.ndarray, unit: np.ndarray) -> Adjusted | None:
    """Poses and units of the keyframes that the tracks tell, at least two; None: they tell none.

    One that too few sights fit parts those before it from those behind it, and the longer part counts.

    Args:
        keyframes: S of them, neighbours of which share tracks.
        world_from_cam: (S, 4, 4), where they lie before.
        unit: (S,) of each keyframe's depth, in the world's unit.
    """
    told = slice(0, len(keyframes))
    while told.stop - told.start > 1:
        sights = joint_sights(keyframes[told], unit[told])
        begin = inverse(world_from_cam[told])
        reference = int(sights.mask.sum(axis=0).argmax())
        solution = adjust(sights.problem(reference), Solution(begin, sights.triangulated(begin)), ROUNDS, ENOUGH)
        fits = sights.errors_px(solution) < OUTLIER * sights.deviation_px
        if fits.sum() < MIN_FITTING * sights.mask.sum():
            return None
        pose = solution.cam_from_window
        depth = (pose[:, 2, :3] @ solution.points.T + pose[:, 2, 3:]).T
        holds = fits & (depth > 0)
        weak = holds.sum(axis=0) < MIN_SHARED
        if not weak.any():
            change = [median(depth[own, s] / sights.depth[own, s]) for s, own in enumerate(holds.T)]
            return Adjusted(told, inverse(pose), unit[told] * np.array(change))
        rest = longest_run(~weak)
        told = slice(told.start + rest.start, told.start + rest.stop)
    return None


def longest_run(chosen: np.ndarray) -> slice:
    """The longest run of (N,) that are true, the last one of several."""
    ends = np.flatnonzero(np.r_[True, ~chosen, True])
    lengths = np.diff(ends)
    longest = len(lengths) - 1 - int(lengths[::-1].argmax())
    return slice(int(ends[longest]), int(ends[longest + 1]) - 1)


def joint_sights(keyframes: Sequence[Keyframe], unit: np.ndarray) -> Observations:
    """The tracks that at least two keyframes see."""
    numbers, counts = np.unique(np.concatenate([keyframe.tracks for keyframe in keyframes]), return_counts=True)
    numbers = numbers[counts >= 2]
    shape = len(numbers), len(keyframes)
    seen, mask, depth = np.zeros((*shape, 2)), np.zeros(shape, dtype=bool), np.full(shape, np.nan)
    for s, keyframe in enumerate(keyframes):
        here, rows = found_in(keyframe.tracks, numbers)
        seen[rows, s], mask[rows, s], depth[rows, s] = keyframe.seen[here], True, unit[s] * keyframe.depth[here]
    deviation = median(np.array([keyframe.deviation for keyframe in keyframes]))
    return Observations(seen, mask, seen, depth, 1.0, deviation, numbers)
