"""What a window leaves to the next one, which shares frames with it: how they lie to each other, and their points.

Together they are the sliding window of visual odometry: what the frames that have left it told is kept as a prior
(Leutenegger et al., Keyframe-based visual-inertial odometry, 2015), up to the unit of length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..tracking.observations import KnownDepth, parallax
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
    """Of each frame, the points that hold, in the solution's unit."""
    deviation = depth_deviations(found)
    fits = found.fits & (found.fits.sum(axis=1) >= 2)[:, None] & (deviation < LARGEST_DEVIATION)[:, None]
    for s, cam_from_window in enumerate(found.solution.cam_from_window):
        points = found.solution.points @ cam_from_window[:3, :3].T + cam_from_window[:3, 3]
        chosen = fits[:, s] & (points[:, 2] > 0)
        yield Landmarks(found.sights.pixels[chosen, s], points[chosen], deviation[chosen])


def depth_deviations(found: Estimate) -> np.ndarray:
    """(P,) standard deviations of the logarithms of the points' depths: what a sight's error is to the parallax."""
    angles = parallax(found.sights.seen, found.sights.mask, found.solution)
    return found.sights.deviation_px / found.sights.focal / np.maximum(angles, 1e-4)


def going_on(found: Estimate, memory: Memory, numbers: Sequence[int]) -> Estimate:
    """The estimate with what the window before knows in its sights, as priors; as it is if that is too little."""
    sights, points = found.sights, found.solution.points
    depth, deviation = np.full(sights.mask.shape, np.nan), np.ones(sights.mask.shape)
    for s in found.placed:
        before = memory.landmarks.get(numbers[s])
        if before is None:
            continue
        here, there = same_pixels(sights.pixels[:, s], before.pixels)
        there, here = there[sights.mask[here, s]], here[sights.mask[here, s]]
        depth[here, s] = before.points[there, 2]
        deviation[here, s] = np.hypot(before.deviation[there], LEAST_DEPTH)
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
