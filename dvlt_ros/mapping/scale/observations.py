"""What one window tells of the length of the map's unit: from odometry, from a rig's baseline, from sparse depth.

Each gives the logarithm of metres per map unit with its spread, or says why it cannot. None shrinks: where both sides
are noisy the ratio of their sizes is taken, not a regression of one on the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import InputError
from ...robust import TINY, mean_rotation, soften

ScaleSource = Literal["odometry", "baseline", "depth"]

MIN_FRAMES = 3
MIN_PIXELS = 20
MIN_DISPLACEMENT_M = 0.03  # root mean square about the mean: 10 cm along a line; below, wheels tell no length
MIN_COHERENCE = 0.5  # squared correlation of both sides: below, they have nothing to do with each other
MAX_LIKENESS = 0.7  # width of the depth ratios over that with the pixels shuffled: above, the same as for MIN_COHERENCE
VARIED = 0.1  # half the width of shuffled ratios: what varies less, as a wall does, tells nothing by it
INDEPENDENT = 4  # measured pixels of one frame at most: the network's errors are smooth
TURNING_RAD = 0.1
COMMON_ERROR = 0.01  # of all lengths in a window at once: a smooth error of the network, a worn tyre
USUAL_SCATTER = 0.05  # of a baseline from moment to moment; what is closer together are no outliers, few as they are
ROUNDS = 8  # of reweighting


@dataclass(frozen=True)
class ScaleObservation:
    """What a source says of one window."""

    source: ScaleSource
    log_scale: float  # of metres per map unit
    spread: float  # standard deviation of log_scale
    residual: float  # how badly measurement and map fit each other beside their scale, relative


@dataclass(frozen=True)
class NoObservation:
    """Why a source says nothing of this window."""

    source: ScaleSource
    reason: str


def scale_from_odometry(
    map_from_cam: np.ndarray, odom_from_cam: np.ndarray, epoch: np.ndarray | None = None
) -> ScaleObservation | NoObservation:
    """From where a window's frames are in the map and where wheels and mount say that the camera was.

    A frame that is wrong on one side does no harm. The direction of the motion counts too, through the cameras' own
    orientations: a wrong mount shows in the residual.

    Args:
        map_from_cam: (S, 4, 4), in the map's unit.
        odom_from_cam: (S, 4, 4), metres, ``odom_from_base @ base_from_cam``; NaN where there is no odometry.
        epoch: (S,), `OdometryPose.epoch`; only the one of most frames is used.
    """
    poses, wheels = _checked(map_from_cam, odom_from_cam)
    known = np.isfinite(poses).all(axis=(1, 2)) & np.isfinite(wheels).all(axis=(1, 2))
    if epoch is not None and known.any():
        values, counts = np.unique(np.asarray(epoch)[known], return_counts=True)
        known &= np.asarray(epoch) == values[counts.argmax()]
    if known.sum() < MIN_FRAMES:
        return NoObservation("odometry", f"no odometry at the stamps: {known.sum()} of {len(poses)} frames have it")
    poses, wheels = poses[known], wheels[known]
    if (reason := _standstill(wheels)) is not None:
        return NoObservation("odometry", reason)
    odom_from_map = mean_rotation(wheels[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1))
    return _compared(poses[:, :3, 3] @ odom_from_map.T, wheels[:, :3, 3])


def scale_from_baseline(
    map_from_first: np.ndarray, map_from_second: np.ndarray, first_from_second: np.ndarray
) -> ScaleObservation | NoObservation:
    """From simultaneous frames of two cameras whose mounts are known.

    Args:
        map_from_first, map_from_second: (N, 4, 4), the two cameras at N stamps, in the map's unit.
        first_from_second: (4, 4), metres.
    """
    first, second = _checked(map_from_first, map_from_second)
    known = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    first, second = first[known], second[known]
    baseline = np.asarray(first_from_second, dtype=np.float64)[:3, 3]
    length_m = float(np.linalg.norm(baseline))
    if not length_m > 0:
        raise InputError("the two cameras of a rig must be apart to tell a length")
    if not known.any():
        return NoObservation("baseline", "no stamp has a frame of both cameras")
    found = np.einsum("nji,nj->ni", first[:, :3, :3], second[:, :3, 3] - first[:, :3, 3])
    # Only the part along the baseline: noise across it would lengthen what is short.
    lengths = found @ baseline / length_m
    middle = float(np.median(lengths))
    typical = max(float(np.median(np.abs(lengths - middle))), USUAL_SCATTER * abs(middle))
    along, share = _robust_mean(lengths, middle, typical)
    if not along > 0:
        return NoObservation("baseline", "the map has the cameras the other way round")
    aside = np.linalg.norm(found - along * baseline / length_m, axis=1) / along
    scatter = math.sqrt(float(share @ (lengths / along - 1) ** 2) / len(found))
    spread = math.hypot(scatter, COMMON_ERROR)
    return ScaleObservation("baseline", math.log(length_m / along), spread, float(np.median(aside)))


def scale_from_depth(
    measured_m: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None
) -> ScaleObservation | NoObservation:
    """From pixels whose depth was measured: a depth image, or a laser's points projected into the frame.

    Less than half of them may be wrong, and all on one side: what one sensor sees past an edge that hides it from the
    other is always farther away.

    Args:
        measured_m: (N,), metres along the optical axis.
        predicted: (N,), map unit, at the same pixels.
        weights: (N,), confidence. A pixel counts if all its numbers are finite and above 0.
    """
    weights = np.ones_like(predicted) if weights is None else weights
    if not measured_m.shape == predicted.shape == weights.shape or measured_m.ndim != 1:
        shapes = measured_m.shape, predicted.shape, weights.shape
        raise InputError(f"measured_m, predicted and weights must be (N,) alike, got {shapes}")
    usable = np.ones(len(predicted), dtype=bool)
    for values in (measured_m, predicted, weights):
        usable &= np.isfinite(values) & (values > 0)
    if usable.sum() < MIN_PIXELS:
        return NoObservation("depth", f"{usable.sum()} pixels have a measured depth, at least {MIN_PIXELS} must")
    measured, seen = (np.log(values[usable].astype(np.float64)) for values in (measured_m, predicted))
    ratio, weights = measured - seen, weights[usable]
    middle, width = _densest_half(ratio, weights)
    _, chance = _densest_half(np.random.default_rng(0).permutation(measured) - seen, weights)
    if chance > VARIED and width > MAX_LIKENESS * chance:
        return NoObservation(
            "depth", "measured and seen depth have nothing to do with each other; do sensor and camera look the same "
            "way, and are transform and stamps right?",
        )  # fmt: skip
    mean, share = _robust_mean(ratio, middle, width, weights)
    scatter = math.sqrt(float(share @ (ratio - mean) ** 2) / min(len(ratio), INDEPENDENT))
    return ScaleObservation("depth", mean, math.hypot(scatter, COMMON_ERROR), float(np.median(np.abs(ratio - mean))))


def _compared(visual: np.ndarray, wheels: np.ndarray) -> ScaleObservation | NoObservation:
    """Positions (S, 3) of one camera in map units and in metres, with the same axes."""
    scale, offset = _least_median(visual, wheels)
    residual = np.linalg.norm(wheels - scale * visual - offset, axis=1)
    for _ in range(ROUNDS):
        share = soften(residual, float(np.median(residual)))
        visual_mean, wheels_mean = share @ visual, share @ wheels
        seen, driven = visual - visual_mean, wheels - wheels_mean
        seen_size, driven_size = (math.sqrt(float(share @ (x**2).sum(axis=1))) for x in (seen, driven))
        if driven_size < MIN_DISPLACEMENT_M or seen_size < TINY:
            return NoObservation("odometry", "the frames that agree with the odometry stand still")
        scale = driven_size / seen_size
        residual = np.linalg.norm(driven - scale * seen, axis=1)
    coherence = float(share @ (seen * driven).sum(axis=1)) / (seen_size * driven_size)
    if coherence <= 0 or coherence**2 < MIN_COHERENCE:
        return NoObservation("odometry", "odometry and the map's cameras move in different ways; is the mount right?")
    misfit = math.sqrt(float(share @ residual**2)) / driven_size
    chance = misfit / math.sqrt(3 * max(1, len(visual) - 2))  # a third of it is along the motion
    bias = -math.log(coherence) / 2  # a quarter of what separates the regressions of one side on the other
    return ScaleObservation("odometry", math.log(scale), math.hypot(chance, bias, COMMON_ERROR), misfit)


def _least_median(visual: np.ndarray, wheels: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale and offset (3,) of the pair of frames that most of the others agree with."""
    first, second = np.triu_indices(len(visual), k=1)
    seen, driven = visual[second] - visual[first], wheels[second] - wheels[first]
    seen_size, driven_size = np.linalg.norm(seen, axis=1), np.linalg.norm(driven, axis=1)
    far = driven_size >= driven_size.max() / 4  # neighbours tell less
    scale = driven_size[far] / np.maximum(seen_size[far], TINY)
    offset = (wheels[first] + wheels[second])[far] / 2 - scale[:, None] * (visual[first] + visual[second])[far] / 2
    residual = np.linalg.norm(wheels - scale[:, None, None] * visual - offset[:, None], axis=2)
    best = int(np.median(residual, axis=1).argmin())
    return float(scale[best]), offset[best]


def _standstill(odom_from_cam: np.ndarray) -> str | None:
    """Why these frames (S, 4, 4) tell no length; None if they do."""
    position = odom_from_cam[:, :3, 3]
    size_m = math.sqrt(((position - position.mean(axis=0)) ** 2).sum(axis=1).mean())
    if size_m >= MIN_DISPLACEMENT_M:
        return None
    turned = odom_from_cam[0, :3, :3].T @ odom_from_cam[:, :3, :3]
    cosine = (np.trace(turned, axis1=1, axis2=2).min() - 1) / 2
    return "turning on the spot" if cosine < math.cos(TURNING_RAD) else "standing still"


def _robust_mean(
    values: np.ndarray, mean: float, typical: float, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Of (N,), from a first guess of it and of how far values typically are from it; and how much each counts (N,)."""
    for _ in range(ROUNDS):
        share = soften(values - mean, typical, weights)
        mean = float(share @ values)
    return mean, share


def _densest_half(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Middle and half the width of the shortest interval that holds half the weight of (N,).

    Unlike the median it does not move with outliers that are all on one side.
    """
    order = np.argsort(values)
    values, total = values[order], np.cumsum(weights[order])
    before = total - weights[order]
    last = np.searchsorted(total, before + total[-1] / 2)
    first = np.flatnonzero(last < len(values))
    width = values[last[first]] - values[first]
    best = int(width.argmin())
    return float(values[first[best]] + width[best] / 2), float(width[best]) / 2


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 3 or first.shape[1:] != (4, 4) or first.shape != second.shape:
        raise InputError(f"poses must both be (S, 4, 4), got {first.shape} and {second.shape}")
    return first, second
