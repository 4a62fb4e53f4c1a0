"""What a window leaves to the next one, which shares frames with it: how they lie to each other, and their points.

Together they are the sliding window of visual odometry: what the frames that have left it told is kept as a prior
(Leutenegger et al., Keyframe-based visual-inertial odometry, 2015), up to the unit of length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arrays import median
from ..tracking.observations import KnownDepth, Observations
from ..window import Landmarks, same_pixels
from .covariance import relative_covariances
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


def remembered(found: Estimate, joint: np.ndarray, seen: Sequence[Landmarks], numbers: Sequence[int]) -> Memory:
    """``joint``: its `covariance.joint_covariance`; ``seen``: its landmarks; ``numbers``: of the window's frames."""
    poses = {numbers[s]: found.solution.cam_from_window[s] for s in found.placed}
    known = {(numbers[pose.i], numbers[pose.j]): pose for pose in relative_poses(found, joint)}
    return Memory(poses, known, dict(zip(numbers, seen, strict=True)))


def relative_poses(found: Estimate, joint: np.ndarray) -> list[KnownPose]:
    """Each placed frame's pose against the next one's, with what the tracks leave open but for the unit."""
    poses = found.cam_from_reference
    extent = np.linalg.norm(poses[:, :3, 3], axis=1).max()
    least = np.square([LEAST_TURN] * 3 + [max(LEAST_SHIFT * extent, 1e-9)] * 3)
    first, second = np.array(found.placed[:-1]), np.array(found.placed[1:])
    i_from_j = poses[first] @ inverse(poses[second])
    covariance = AGAIN * relative_covariances(joint, i_from_j, first, second) + np.diag(least)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    return [KnownPose(*parts) for parts in zip(first.tolist(), second.tolist(), i_from_j, whitening, strict=True)]


def landmarks(found: Estimate) -> tuple[Landmarks, ...]:
    """Of each frame, the points that hold, in the solution's unit, and where it sees what moves."""
    known = (found.fits.sum(axis=1) >= 2) & (found.depth_deviation < LARGEST_DEVIATION)
    chosen = found.fits & known[:, None] & (found.depths > 0)
    moving = found.sights.mask & found.moves[:, None]
    pixels, numbers, pose = found.sights.pixels, found.sights.numbers, found.solution.cam_from_window
    points = found.solution.points @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]  # (S, P, 3)
    return tuple(
        Landmarks(pixels[own, s], points[s, own], found.depth_deviation[own], pixels[moving[:, s], s], numbers[own])
        for s, own in enumerate(chosen.T)
    )


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
    known = before.scaled(median(sights.depth[both] / before.depth[both]))
    told = np.isfinite(known.depth).any(axis=1, keepdims=True)
    return replace(sights, depth=np.where(told, known.depth, sights.depth), known_depth=known)


def going_on(found: Estimate, memory: Memory, numbers: Sequence[int]) -> Estimate:
    """The estimate with what the window before knows as priors, in its own unit; as it is if that is too little."""
    before = found.sights.known_depth
    if before is None:
        return found
    both = np.isfinite(before.depth) & (found.depths > 0) & found.fits
    if both.sum() < MIN_LANDMARKS:
        return found
    known_depth = before.scaled(median(found.depths[both] / before.depth[both]))
    place = {number: s for s, number in enumerate(numbers)}
    known = tuple(
        replace(pose.scaled(known_depth.unit), i=place[a], j=place[b])
        for (a, b), pose in memory.known.items()
        if a in place and b in place
    )
    return replace(found, sights=replace(found.sights, known=known, known_depth=known_depth))
