"""What a window leaves to the next one, which shares frames with it: how they lie to each other, and their points.

Together they are the sliding window of visual odometry: what the frames that have left it told is kept as a prior
(Leutenegger et al., Keyframe-based visual-inertial odometry, 2015), up to the unit of length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..tracking.observations import KnownDepth, Observations, parallax
from ..window import Landmarks, same_pixels
from .covariance import joint_covariance, relative_covariance
from .estimate import Estimate
from .problem import KnownPose
from .rotations import inverse

LARGEST_DEVIATION = 0.25  # of the logarithm of a point's depth; what is known worse says nothing
MIN_LANDMARKS = 12  # that two windows share, for the one to go on from the other
AGAIN = 2.0  # times the variance, because the shared frames' sights are counted in both windows
LEAST_TURN = 2e-4  # rad, of a remembered turn
LEAST_SHIFT = 1e-3  # of the window's extent, of a remembered shift
LEAST_DEPTH = 0.02  # of the logarithm of a remembered depth


@dataclass(frozen=True, eq=False)
class Memory:
    """By the frames' numbers, in the unit of the window that it is of."""

    cam_from_window: dict[int, np.ndarray]  # (4, 4)
    known: dict[tuple[int, int], KnownPose]
    landmarks: dict[int, Landmarks]


NOTHING = Memory({}, {}, {})


def remembered(found: Estimate, numbers: Sequence[int]) -> Memory:
    """``numbers``: of the window's frames."""
    poses = {numbers[s]: found.solution.cam_from_window[s] for s in found.placed}
    known = {(numbers[pose.i], numbers[pose.j]): pose for pose in relative_poses(found)}
    return Memory(poses, known, dict(zip(numbers, landmarks(found), strict=True)))


def relative_poses(found: Estimate) -> Iterator[KnownPose]:
    """Each placed frame's pose against the next one's, with what the tracks leave open but for the unit."""
    poses = found.solution.cam_from_window @ inverse(found.solution.cam_from_window[found.reference])
    extent = np.linalg.norm(poses[:, :3, 3], axis=1).max()
    least = np.square([LEAST_TURN] * 3 + [max(LEAST_SHIFT * extent, 1e-9)] * 3)
    joint = joint_covariance(found, poses)
    for i, j in pairwise(found.placed):
        i_from_j = poses[i] @ inverse(poses[j])
        covariance = AGAIN * relative_covariance(joint, i_from_j, i, j) + np.diag(least)
        yield KnownPose(i, j, i_from_j, np.linalg.inv(np.linalg.cholesky(covariance)))


def landmarks(found: Estimate) -> Iterator[Landmarks]:
    """Of each frame, the points that hold, in the solution's unit, and where it sees what moves."""
    deviation = depth_deviations(found)
    fits = found.fits & (found.fits.sum(axis=1) >= 2)[:, None] & (deviation < LARGEST_DEVIATION)[:, None]
    for s, cam_from_window in enumerate(found.solution.cam_from_window):
        points = found.solution.points @ cam_from_window[:3, :3].T + cam_from_window[:3, 3]
        chosen = fits[:, s] & (points[:, 2] > 0)
        moving = found.sights.pixels[found.moves & found.sights.mask[:, s], s]
        yield Landmarks(found.sights.pixels[chosen, s], points[chosen], deviation[chosen], moving)


def depth_deviations(found: Estimate) -> np.ndarray:
    """(P,) standard deviations of the logarithms of the points' depths: what a sight's error is to the parallax, and
    what was known of the depth before."""
    angles = parallax(found.sights.seen, found.sights.mask, found.solution)
    information = np.square(np.maximum(angles, 1e-4) * found.sights.focal / found.sights.deviation_px)
    known = found.sights.known_depth
    if known is not None:
        told = np.where(np.isfinite(known.depth), known.deviation, np.inf).min(axis=1)
        information = np.maximum(information, 1 / np.square(told))  # not the sum: the same sights may be in both
    return 1 / np.sqrt(information)


def recalled(sights: Observations, memory: Memory, numbers: Sequence[int]) -> KnownDepth:
    """The depths (P, S) that the window before knows of the sights that both have, in its unit; NaN: not known."""
    depth, deviation = np.full(sights.mask.shape, np.nan), np.ones(sights.mask.shape)
    for s, number in enumerate(numbers):
        before = memory.landmarks.get(number)
        if before is None:
            continue
        here, there = same_pixels(sights.pixels[:, s], before.pixels)
        there, here = there[sights.mask[here, s]], here[sights.mask[here, s]]
        depth[here, s] = before.points[there, 2]
        deviation[here, s] = np.hypot(before.deviation[there], LEAST_DEPTH)
    return KnownDepth(depth, deviation)


def with_recalled_depth(sights: Observations, memory: Memory, numbers: Sequence[int]) -> Observations | None:
    """Sights with the depths that the window before knows, in the network's unit; None: those are too few."""
    before = recalled(sights, memory, numbers)
    both = np.isfinite(before.depth) & (sights.depth > 0)
    if both.sum() < MIN_LANDMARKS:
        return None
    unit = float(np.median(sights.depth[both] / before.depth[both]))
    known = KnownDepth(unit * before.depth, before.deviation)
    told = np.isfinite(known.depth).any(axis=1, keepdims=True)
    return replace(sights, depth=np.where(told, known.depth, sights.depth), known_depth=known)


def going_on(found: Estimate, memory: Memory, numbers: Sequence[int]) -> Estimate:
    """The estimate with what the window before knows in its sights, as priors; as it is if that is too little."""
    sights, points = found.sights, found.solution.points
    known_depth = recalled(sights, memory, numbers)
    depth, deviation = known_depth.depth, known_depth.deviation
    local = np.einsum("sj,pj->ps", found.solution.cam_from_window[:, 2, :3], points)
    local += found.solution.cam_from_window[:, 2, 3]
    both = np.isfinite(depth) & (local > 0) & found.fits
    if both.sum() < MIN_LANDMARKS:
        return found
    unit = float(np.median(local[both] / depth[both]))  # of this window, per unit of the one before
    place = {number: s for s, number in enumerate(numbers)}
    known = tuple(
        replace(pose.scaled(unit), i=place[a], j=place[b])
        for (a, b), pose in memory.known.items()
        if a in place and b in place
    )
    return replace(found, sights=replace(sights, known=known, known_depth=KnownDepth(unit * depth, deviation)))
