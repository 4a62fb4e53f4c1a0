"""Scale observations of one window: from odometry, from a rig's baseline, from sparse depth.

Each function returns the logarithm of metres per map unit with its standard deviation, or the reason why there is none.
None of them is biased towards small scales: if both sides are noisy, the ratio of their sizes is taken instead of a
regression of one on the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...errors import InputError
from ...robust import TINY, mean_rotation, soften

ScaleSource = Literal["odometry", "baseline", "depth", "saved map"]

MIN_FRAMES = 3
MIN_PIXELS = 20
MIN_DISPLACEMENT_M = 0.03  # root mean square about the mean (10 cm along a line); shorter motion gives no scale
MIN_COHERENCE = 0.5  # squared correlation of both sides; below it they are unrelated
MAX_LIKENESS = 0.7  # width of the depth ratios over that with shuffled pixels; above it the depths are unrelated
VARIED = 0.1  # half width of the shuffled ratios; below it (a wall) the comparison above is not possible
INDEPENDENT = 4  # largest number of independent pixels of one frame: the network's errors are smooth
TURNING_RAD = 0.1
COMMON_ERROR = 0.01  # relative error common to all lengths of a window: of the network, of a tyre's radius
USUAL_SCATTER = 0.05  # of a baseline between frame sets; deviations below it are not outliers
LINE = math.sqrt(12)  # length of a line over the root mean square of its points about their mean
ROUNDS = 8  # of reweighting


@dataclass(frozen=True)
class ScaleObservation:
    """One source's measurement of the scale in one window."""

    source: ScaleSource
    log_scale: float  # of metres per map unit
    spread: float  # standard deviation of log_scale
    residual: float  # relative misfit of measurement and map after scaling


@dataclass(frozen=True)
class NoObservation:
    """Why a source gives no measurement in this window."""

    source: ScaleSource
    reason: str


def scale_from_odometry(
    map_from_cam: np.ndarray,
    odom_from_cam: np.ndarray,
    epoch: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> ScaleObservation | NoObservation:
    """From a window's camera positions in the map and by odometry.

    Robust against single frames that are wrong. The direction of the motion in the cameras' axes is compared, too, so
    a wrong mount increases the residual.

    Args:
        map_from_cam: (S, 4, 4), in the map's unit.
        odom_from_cam: (S, 4, 4), metres, ``odom_from_base @ base_from_cam``; NaN where there is no odometry.
        epoch: (S,), `OdometryPose.epoch`; only the epoch with the most frames is used.
        steps: (S,), standard deviations of each camera's shift since the one before, in the map's unit; NaN: not known.
    """
    poses, odometry = _checked(map_from_cam, odom_from_cam)
    known = np.isfinite(poses).all(axis=(1, 2)) & np.isfinite(odometry).all(axis=(1, 2))
    if epoch is not None and known.any():
        values, counts = np.unique(np.asarray(epoch)[known], return_counts=True)
        known &= np.asarray(epoch) == values[counts.argmax()]
    if known.sum() < MIN_FRAMES:
        return NoObservation("odometry", f"no odometry at the stamps: {known.sum()} of {len(poses)} frames have it")
    length_noise = 0.0 if steps is None else math.sqrt(float(np.nansum(np.square(steps[known]))))
    poses, odometry = poses[known], odometry[known]
    if (reason := _standstill(odometry)) is not None:
        return NoObservation("odometry", reason)
    odom_from_map = mean_rotation(odometry[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1))
    found = _compared(poses[:, :3, 3] @ odom_from_map.T, odometry[:, :3, 3])
    if isinstance(found, NoObservation):
        return found
    length = LINE * math.sqrt(float(poses[:, :3, 3].var(axis=0).sum()))
    return replace(found, spread=math.hypot(found.spread, length_noise / max(length, TINY)))


def scale_from_baseline(
    map_from_first: np.ndarray, map_from_second: np.ndarray, first_from_second: np.ndarray
) -> ScaleObservation | NoObservation:
    """From synchronized frames of two cameras with known mounts.

    Args:
        map_from_first, map_from_second: (N, 4, 4), the two cameras at N stamps, in the map's unit.
        first_from_second: (4, 4), metres.

    Raises:
        InputError: the cameras are at the same place, or the shapes do not match.
    """
    first, second = _checked(map_from_first, map_from_second)
    known = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    first, second = first[known], second[known]
    baseline = np.asarray(first_from_second, dtype=np.float64)[:3, 3]
    length_m = float(np.linalg.norm(baseline))
    if not length_m > 0:
        raise InputError("the two cameras of a rig must be apart to give a scale")
    if not known.any():
        return NoObservation("baseline", "no stamp has a frame of both cameras")
    found = np.einsum("nji,nj->ni", first[:, :3, :3], second[:, :3, 3] - first[:, :3, 3])
    # Only the component along the baseline: noise across it would make a short baseline longer.
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
    """From pixels with a measured depth: of a depth image, or of a laser's points projected into the frame.

    Up to half of the pixels may be wrong, even all in the same direction: a point that only one sensor can see past an
    edge is always farther away.

    Args:
        measured_m: (N,), metres along the optical axis.
        predicted: (N,), map unit, at the same pixels.
        weights: (N,), confidence. Only pixels whose values are all finite and above 0 are used.

    Raises:
        InputError: the shapes do not match.
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
    ratio = measured - seen
    weights = weights[usable]
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


def _compared(visual: np.ndarray, odometry: np.ndarray) -> ScaleObservation | NoObservation:
    """Compares positions (S, 3) of one camera in map units and in metres, in the same axes."""
    scale, offset = _least_median(visual, odometry)
    residual = np.linalg.norm(odometry - scale * visual - offset, axis=1)
    for _ in range(ROUNDS):
        share = soften(residual, float(np.median(residual)))
        seen = visual - share @ visual
        driven = odometry - share @ odometry
        seen_size, driven_size = (math.sqrt(float(share @ (x**2).sum(axis=1))) for x in (seen, driven))
        if driven_size < MIN_DISPLACEMENT_M or seen_size < TINY:
            return NoObservation("odometry", "the frames that agree with the odometry stand still")
        scale = driven_size / seen_size
        residual = np.linalg.norm(driven - scale * seen, axis=1)
    coherence = float(share @ (seen * driven).sum(axis=1)) / (seen_size * driven_size)
    if coherence <= 0 or coherence**2 < MIN_COHERENCE:
        return NoObservation(
            "odometry",
            f"odometry and the map's cameras move in different ways (correlation {coherence:.2f}): the network may "
            "know motion too coarsely (model.weights), or a time offset or mount may be wrong",
        )
    misfit = math.sqrt(float(share @ residual**2)) / driven_size
    chance = misfit / math.sqrt(3 * max(1, len(visual) - 2))  # a third of the misfit is along the motion
    bias = -math.log(coherence) / 2  # a quarter of the difference between the two possible regressions
    return ScaleObservation("odometry", math.log(scale), math.hypot(chance, bias, COMMON_ERROR), misfit)


def _least_median(visual: np.ndarray, odometry: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale and offset (3,) from the pair of frames with the smallest median residual of all frames."""
    first, second = np.triu_indices(len(visual), k=1)
    seen_size = np.linalg.norm(visual[second] - visual[first], axis=1)
    driven_size = np.linalg.norm(odometry[second] - odometry[first], axis=1)
    far = driven_size >= driven_size.max() / 4  # close pairs are less precise
    scale = driven_size[far] / np.maximum(seen_size[far], TINY)
    offset = (odometry[first] + odometry[second])[far] / 2 - scale[:, None] * (visual[first] + visual[second])[far] / 2
    residual = np.linalg.norm(odometry - scale[:, None, None] * visual - offset[:, None], axis=2)
    best = int(np.median(residual, axis=1).argmin())
    return float(scale[best]), offset[best]


def _standstill(odom_from_cam: np.ndarray) -> str | None:
    """Why these frames (S, 4, 4) give no scale; None if they do."""
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
    """Robust mean of (N,) from a first guess and a typical deviation; and the weight of each value (N,)."""
    for _ in range(ROUNDS):
        share = soften(values - mean, typical, weights)
        mean = float(share @ values)
    return mean, share


def _densest_half(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Centre and half width of the shortest interval with half of the weight of (N,).

    Unlike the median, it is robust against outliers that are all on one side.
    """
    order = np.argsort(values)
    values = values[order]
    total = np.cumsum(weights[order])
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
