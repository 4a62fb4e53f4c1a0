"""Where a bundle adjustment may begin: pairs by essential matrices, the other frames by perspective-n-point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from ..arrays import median
from ..degeneracy import degenerate
from ..tracking.epipolar import pair_geometry, plane_motions
from ..tracking.observations import OUTLIER, Observations
from .adjustment import adjust, resected
from .problem import Solution
from .rotations import inverse

MOST_STARTS = 2  # essential matrices that are tried
MOST_DEPTHS = 3  # frames whose depth a start is made from
MIN_SUPPORT = 10  # sights of known points that place a frame
ENOUGH_SUPPORT = 40
PNP_ROUNDS, PNP_POINTS = 60, 50  # at most; the adjustment uses all points
NEAR_SHARE = 0.6  # of a frame's sights that agree with a pose that was not searched for
NEAR_LIMITS = (12.0, 6.0, 3.0)  # standard deviations where outliers begin, step by step
LOOSE = 1.5  # tolerances, for points that are not adjusted yet
LOOSER = 6.0  # tolerances, for points at the network's depth
GOOD_PARALLAX = np.radians(4.0)
RESCALES, MOST_RESCALE = 4, 5.0
MOST_GROWTH = 1.5  # of the placed frames, before they are adjusted
SETTLING_ROUNDS, SETTLED = 4, 5e-3  # of an adjustment in between, and the relative decrease of the cost that ends it


@dataclass(frozen=True, eq=False)
class Start:
    name: str
    cam_from_window: np.ndarray  # (S, 4, 4)


def perspective(points: np.ndarray, flat: np.ndarray, tolerance: float) -> np.ndarray | None:
    """cam_from_window (4, 4) of points (N, 3) and their sights (N, 2); None: too few agree."""
    if len(points) < MIN_SUPPORT:
        return None
    every = max(1, len(points) // PNP_POINTS)
    found, turn, shift, inliers = cv2.solvePnPRansac(
        points[::every], flat[::every], np.eye(3), None, flags=cv2.SOLVEPNP_AP3P, reprojectionError=tolerance,
        iterationsCount=PNP_ROUNDS, confidence=0.99,
    )  # fmt: skip
    if not found or inliers is None or len(inliers) < MIN_SUPPORT:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
    return pose if np.isfinite(pose).all() else None


def costly_starts(sights: Observations, network: np.ndarray, far_apart: bool, width: int) -> Iterator[Start]:
    """None where only known depths serve; ``width`` of the images in pixels. Frames that are ``far_apart`` often share
    little but one plane, whose essential matrix is not determined. Where the motions of pairs mislead, the network's
    depth often does not."""
    if sights.known_depth is not None and degenerate(sights, width)[0]:
        return
    yield from essential_starts(sights, network, MOST_STARTS)
    if far_apart:
        yield from plane_starts(sights, network)
    yield from depth_starts(sights, network, MOST_DEPTHS)


def essential_starts(sights: Observations, network: np.ndarray, most: int) -> Iterator[Start]:
    """From the pairs with most matches and parallax; ``network`` is its cam_from_window (S, 4, 4)."""
    given = 0
    for i, j, both in best_pairs(sights)[: 2 * most]:
        pair = pair_geometry(sights.seen[both, i], sights.seen[both, j], sights.tolerance / 2)
        if pair is None:
            continue
        yield grown(f"frames {i} and {j}", sights, *begun(sights, network, i, j, pair.b_from_a), network, settle=True)
        given += 1
        if given == most:
            return


def plane_starts(sights: Observations, network: np.ndarray) -> Iterator[Start]:
    """Both motions that one plane allows between two frames: those of the pair with most matches and parallax."""
    for i, j, both in best_pairs(sights)[:1]:
        for motion in plane_motions(sights.seen[both, i], sights.seen[both, j], sights.tolerance):
            begin = begun(sights, network, i, j, motion)
            yield grown(f"a plane in frames {i} and {j}", sights, *begin, network, settle=True)


def depth_starts(sights: Observations, network: np.ndarray, most: int) -> Iterator[Start]:
    """From each of the frames that see most: its sights at the network's depth are points, by which PnP places the
    others. The network's poses, which are often worse than its depth, serve only frames that PnP does not place."""
    known = sights.mask & np.isfinite(sights.depth)
    for reference in np.argsort(-known.sum(axis=0), kind="stable")[:most].tolist():
        used = sights.select(known[:, reference])
        points = used.depth[:, reference, None] * np.append(
            used.seen[:, reference], np.ones((len(used.seen), 1)), axis=1
        )
        poses, placed = np.tile(np.eye(4), (len(network), 1, 1)), [reference]
        for s in set(range(len(network))) - {reference}:
            both = used.mask[:, s]
            pose = perspective(points[both], used.seen[both, s], LOOSER * sights.tolerance)
            if pose is not None:
                poses[s] = pose
                placed.append(s)
        if len(placed) > 1:
            yield Start(f"the depth of frame {reference}", completed(poses, placed, network))


def best_pairs(sights: Observations) -> list[tuple[int, int, np.ndarray]]:
    """Pairs of frames and what both see (P,), those with most matches and parallax first."""
    ranked = []
    for i, j in combinations(range(sights.mask.shape[1]), 2):
        both = sights.mask[:, i] & sights.mask[:, j]
        if both.sum() >= MIN_SUPPORT:
            away = median(np.linalg.norm(sights.seen[both, i] - sights.seen[both, j], axis=-1))
            ranked.append((both.sum() * min(away / 0.15, 1.0), i, j, both))
    ranked.sort(key=lambda entry: -entry[0])
    return [(i, j, both) for _, i, j, both in ranked]


def begun(
    sights: Observations, network: np.ndarray, i: int, j: int, j_from_i: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """The network's poses with two of them replaced, in its unit, and which."""
    poses = network.copy()
    poses[i], poses[j] = np.eye(4), j_from_i
    return in_networks_unit(sights, poses, [i, j]), [i, j]


def grown(
    name: str, sights: Observations, poses: np.ndarray, placed: list[int], network: np.ndarray, settle: bool
) -> Start:
    """The other frames, each placed by the points that those before it see.

    Args:
        poses: (S, 4, 4), in the network's unit; those of the ``placed`` frames count.
        settle: adjusted in between, whenever half as many again are placed or a frame sees few of the points. Without,
            frames are looked for near the network's poses first.
    """
    poses, placed = completed(poses, placed, network), list(placed)
    points, known = settled(sights, poses, placed, settle)
    near = [] if settle else placed_near(sights, poses, placed, points, known)
    placed += near
    if near and len(placed) < len(poses):
        points, known = settled(sights, poses, placed, settle)
    due, tried = MOST_GROWTH * len(placed), set[int]()
    while left := [s for s in range(len(poses)) if s not in placed and s not in tried]:
        support = (sights.mask & known[:, None]).sum(axis=0)
        chosen = max(left, key=lambda s: int(support[s]))
        usable = known & sights.mask[:, chosen]
        pose = perspective(points[usable], sights.seen[usable, chosen], LOOSE * sights.tolerance)
        tried.add(chosen)
        if pose is None:
            continue
        poses[chosen] = pose
        placed.append(chosen)
        tried.clear()
        rest = [int(support[s]) for s in left if s != chosen]
        if rest and (min(rest) < ENOUGH_SUPPORT or (settle and len(placed) >= due)):
            points, known = settled(sights, poses, placed, settle)
            due = MOST_GROWTH * len(placed)
    return Start(name, completed(poses, placed, network))


def placed_near(
    sights: Observations, poses: np.ndarray, placed: list[int], points: np.ndarray, known: np.ndarray
) -> list[int]:
    """Other frames that see enough of the known points and agree with a pose near the one that they have, all at once
    and without a search; their poses change in place."""
    support = sights.mask[known].sum(axis=0)
    near = [s for s in range(len(poses)) if s not in placed and support[s] >= ENOUGH_SUPPORT]
    if not near:
        return []
    inner = sights.of_frames(near).select(known)
    found = resected(inner.problem(0), Solution(poses[near], points[known]), NEAR_LIMITS)
    agreeing = (inner.errors_px(found) < LOOSE * OUTLIER * inner.deviation_px).sum(axis=0) > NEAR_SHARE * support[near]
    held = [s for s, agrees in zip(near, agreeing, strict=True) if agrees]
    poses[held] = found.cam_from_window[agreeing]
    return held


def settled(
    sights: Observations, poses: np.ndarray, placed: list[int], adjusted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) of the placed frames, and which are known (P,); with ``adjusted`` poses change in place."""
    inner = sights.of_frames(placed)
    known = inner.mask.sum(axis=1) >= 2
    points, used = np.zeros((len(known), 3)), inner.select(known)
    solution = Solution(poses[placed], used.triangulated(poses[placed]))
    if adjusted and known.any():
        solution = adjust(used.problem(0), solution, SETTLING_ROUNDS, SETTLED)
        poses[placed] = solution.cam_from_window
    points[known] = solution.points
    fits = np.nanmax(used.errors_px(solution), axis=1, initial=0.0) < 2 * LOOSE * OUTLIER * sights.deviation_px
    known[known] = fits
    return points, known


def in_networks_unit(sights: Observations, poses: np.ndarray, placed: list[int]) -> np.ndarray:
    """Shifts between the placed frames made so long that points are as deep as the network says."""
    inner, poses = sights.of_frames(placed), poses.copy()
    inner = inner.select(inner.mask.sum(axis=1) >= 2)
    first_from_window = poses[placed[0]].copy()
    poses[placed] = poses[placed] @ inverse(first_from_window)
    for _ in range(RESCALES):
        points = inner.triangulated(poses[placed])
        local = poses[placed, 2, :3] @ points.T + poses[placed, 2, 3:]
        usable = inner.mask.T & (local > 0) & np.isfinite(inner.depth.T)
        if not usable.any():
            break
        told = median(inner.depth.T[usable] / local[usable])
        poses[placed, :3, 3] *= np.clip(told, 1 / MOST_RESCALE, MOST_RESCALE)
        if 1 / MOST_RESCALE < told < MOST_RESCALE:  # further away, points are drawn to where the network sees them
            break
    return poses


def completed(poses: np.ndarray, placed: list[int], network: np.ndarray) -> np.ndarray:
    """Frames that are not placed get the network's pose relative to the nearest that is."""
    poses = poses.copy()
    for s in set(range(len(poses))) - set(placed):
        nearest = min(placed, key=lambda p: abs(p - s))
        poses[s] = network[s] @ inverse(network[nearest]) @ poses[nearest]
    return poses
