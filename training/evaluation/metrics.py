"""The evaluation's metrics (paper, evaluation): poses, depth, points, and how confidence ranks errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dvlt_ros.alignment import Sim3, fit_sim3_robust
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.geometry import invert_pose, rotation_angle

THRESHOLDS_DEG = (1, 3, 5, 20, 30)
WEISZFELD_ROUNDS = 10
L1_ROUNDS = 100
INLIER_ERROR = 0.03  # relative

DepthAlignment = Literal["none", "median", "median_scale", "scale", "scale_shift"]


@dataclass(frozen=True)
class PoseMetrics:
    """Errors of the relative poses of all pairs of views; NaN where no pair was left."""

    rotation_error_deg: float  # mean
    translation_error_deg: float  # mean angle between translation directions, folded to at most 90
    rotation_accuracy: dict[int, float]  # share of pairs below each threshold in degrees
    translation_accuracy: dict[int, float]
    auc: dict[int, float]  # of the larger of both errors
    pairs: int

    def named(self) -> dict[str, float]:
        """Flat names for tables: ``auc@30``, ``racc@5``, ``tacc@5``, ``rotation_error_deg``, ..."""
        flat = {
            "rotation_error_deg": self.rotation_error_deg,
            "translation_error_deg": self.translation_error_deg,
        }
        groups = {"racc": self.rotation_accuracy, "tacc": self.translation_accuracy, "auc": self.auc}
        return flat | {f"{name}@{key}": value for name, group in groups.items() for key, value in group.items()}


def pose_metrics(
    found: Tensor, truth: Tensor, thresholds_deg: Sequence[int] = THRESHOLDS_DEG, min_baseline: float = 0.0
) -> PoseMetrics:
    """Pose metrics of one sequence, from the relative pose of every pair i < j.

    Args:
        found, truth: camera-to-world poses (S, 4, 4), each in a world frame and unit of its own.
        thresholds_deg: of the accuracies and the area under the curve.
        min_baseline: pairs of cameras whose true distance, in the truth's unit, is not above it are left out;
            at 0 all pairs count, and a pair without a baseline has a translation error of 90 degrees.

    Raises:
        InputError: poses of unequal or impossible shapes.
    """
    if found.shape != truth.shape or found.dim() != 3 or found.shape[1:] != (4, 4):
        raise InputError(f"poses must both be (S, 4, 4), got {tuple(found.shape)} and {tuple(truth.shape)}")
    rotation, translation, baseline = pair_errors(found, truth)
    if min_baseline > 0:
        rotation, translation = rotation[baseline > min_baseline], translation[baseline > min_baseline]
    worst = torch.maximum(rotation, translation)
    mean = lambda x: float(x.double().mean())  # noqa: E731
    return PoseMetrics(
        mean(rotation),
        mean(translation),
        {limit: mean(rotation < limit) for limit in thresholds_deg},
        {limit: mean(translation < limit) for limit in thresholds_deg},
        {limit: area_under_curve(worst, limit) for limit in thresholds_deg},
        len(worst),
    )


def pair_errors(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation and translation-direction errors in degrees and true baselines, each (pairs,), in float64."""
    first, second = torch.triu_indices(len(truth), len(truth), offset=1, device=truth.device)
    second_from_first = [invert_pose(poses[second]) @ poses[first] for poses in (found.double(), truth.double())]
    found_t, truth_t = (pose[:, :3, 3] for pose in second_from_first)
    found_r, truth_r = (pose[:, :3, :3] for pose in second_from_first)
    rotation = rotation_angle(found_r.transpose(-1, -2) @ truth_r)
    sine, cosine = torch.linalg.cross(found_t, truth_t).norm(dim=-1), (found_t * truth_t).sum(dim=-1).abs()
    angle = torch.atan2(sine, cosine)
    nowhere = (found_t.norm(dim=-1) == 0) | (truth_t.norm(dim=-1) == 0)
    translation = torch.where(nowhere, math.pi / 2, angle)
    return rotation.rad2deg(), translation.rad2deg(), truth_t.norm(dim=-1)


def area_under_curve(errors_deg: Tensor, limit: int) -> float:
    """Mean of the cumulative histogram with limit + 1 bins on [0, limit], over all errors; NaN if none."""
    if not len(errors_deg):
        return math.nan
    inside = torch.where(errors_deg <= limit, errors_deg, limit + 1.0)  # NaN is not inside
    histogram = torch.histc(inside.double().cpu(), bins=limit + 1, min=0, max=limit)
    return float((histogram / len(errors_deg)).cumsum(0).mean())


@dataclass(frozen=True)
class DepthMetrics:
    """Errors over all valid pixels of all frames of a sequence, pooled."""

    abs_rel: float
    sq_rel: float
    rmse: float
    mae: float
    delta1: float  # share with max(found / truth, truth / found) below 1.25
    delta2: float  # below 1.25 ** 2
    delta3: float  # below 1.25 ** 3

    def named(self) -> dict[str, float]:
        return dict(vars(self))


def depth_metrics(found: Tensor, truth: Tensor, valid: Tensor, align: DepthAlignment = "median") -> DepthMetrics:
    """Depth metrics of one sequence (S, H, W), ``found`` in any unit unless ``align`` is ``none``.

    NaN in every figure when no pixel is valid. A found depth that is not finite makes the errors NaN or
    infinite, and one that alignment has turned below 0 is outside every delta.

    Raises:
        InputError: maps of unequal shapes. ConfigError: an alignment that is none of the choices.
    """
    if found.shape != truth.shape or valid.shape != truth.shape:
        shapes = [tuple(x.shape) for x in (found, truth, valid)]
        raise InputError(f"found, truth and valid must have one shape, got {shapes}")
    truth_v = truth[valid].double()
    found_v = align_depth(found[valid].double(), truth_v, align)
    error = (found_v - truth_v).abs()
    ratio = torch.where(found_v > 0, torch.maximum(found_v / truth_v, truth_v / found_v), torch.inf)
    values = [error / truth_v, error.square() / truth_v, error.square(), error]
    abs_rel, sq_rel, square, mae = (float(value.mean()) for value in values)
    deltas = [float((ratio < 1.25**power).double().mean()) for power in (1, 2, 3)]
    return DepthMetrics(abs_rel, sq_rel, math.sqrt(square), mae, *deltas)


def align_depth(found: Tensor, truth: Tensor, align: DepthAlignment) -> Tensor:
    """Found depths (N,) in the truth's unit.

    ``median``: the lower median of truth / found, then the median of what remains as a shift;
    ``median_scale`` stops before the shift. ``scale``: ten Weiszfeld rounds towards the scale of least
    absolute error, not converged, as published. ``scale_shift``: the scale and shift of least absolute error.
    """
    if align not in get_args(DepthAlignment):
        raise ConfigError(f"align must be one of {get_args(DepthAlignment)}, got {align!r}")
    if align == "none" or not len(found):
        return found
    if align in ("median", "median_scale"):
        scaled = found * (truth / found).median()
        return scaled if align == "median_scale" else scaled + (truth - scaled).median()
    if align == "scale_shift":
        return _least_absolute_line(found, truth)
    scale = truth.mean() / found.mean()
    for _ in range(WEISZFELD_ROUNDS):
        weights = 1 / ((scale * found - truth).abs() + 1e-8)
        scale = (weights * found * truth).sum() / (weights * found.square()).sum()
    return scale * found


def _least_absolute_line(found: Tensor, truth: Tensor) -> Tensor:
    """``scale * found + shift`` (N,) of least absolute error, by reweighted least squares."""
    line = align_depth(found, truth, "median")
    floor = 1e-6 * float(truth.mean())  # of the residuals, so that an exact fit keeps finite weights
    for _ in range(L1_ROUNDS):
        weights = 1 / (line - truth).abs().clamp_min(floor)
        weights = weights / weights.sum()
        found_mean, truth_mean = (weights * found).sum(), (weights * truth).sum()
        centred = found - found_mean
        spread = (weights * centred.square()).sum().clamp_min(torch.finfo(found.dtype).tiny)  # 0 for a constant
        scale = (weights * centred * (truth - truth_mean)).sum() / spread
        line = scale * centred + truth_mean
    return line


def relative_distances(found: Tensor, truth: Tensor) -> Tensor:
    """Distances of points (N, 3) over the true point's distance to the origin; a true point there is left out."""
    distance = truth.norm(dim=-1)
    return ((found - truth).norm(dim=-1) / distance)[distance > 0]


@dataclass(frozen=True)
class PointMetrics:
    """Errors of a point map after one similarity per sequence, over all valid pixels."""

    rel_l2: float  # mean distance over the true point's distance to the origin
    inlier_ratio: float  # share with a relative distance below 3 %
    alignment: Sim3  # truth_from_found

    def named(self) -> dict[str, float]:
        return {"rel_l2": self.rel_l2, "inlier_ratio": self.inlier_ratio}


def point_metrics(found: Tensor, truth: Tensor, valid: Tensor) -> PointMetrics:
    """Point-map metrics of one sequence: points (..., 3), ``valid`` (...), pooled.

    Raises:
        InputError: unequal shapes. AlignmentError: too few valid points, or degenerate ones.
    """
    if found.shape != truth.shape or valid.shape != truth.shape[:-1]:
        shapes = [tuple(x.shape) for x in (found, truth, valid)]
        raise InputError(f"found and truth must be (..., 3) and valid (...), got {shapes}")
    found_v, truth_v = found[valid].double(), truth[valid].double()
    truth_from_found = fit_sim3_robust(found_v, truth_v)
    error = relative_distances(truth_from_found.apply(found_v), truth_v)
    return PointMetrics(float(error.mean()), float((error < INLIER_ERROR).double().mean()), truth_from_found)


@dataclass(frozen=True)
class Sparsification:
    """Mean error of the pixels that remain when the least trusted are taken away, and of confidence bins."""

    removed: Tensor  # (steps,), shares from 0
    by_confidence: Tensor  # (steps,), mean error of the rest
    oracle: Tensor  # (steps,), the same with the largest errors taken away first
    bin_confidence: Tensor  # (steps,), mean confidence of equally filled bins, ascending
    bin_error: Tensor  # (steps,), mean error of these bins; calibrated confidence makes it fall

    @property
    def ause(self) -> float:
        """Area between the curves over the error of all pixels: 0 is a perfect ranking."""
        return float(torch.trapezoid(self.by_confidence - self.oracle, self.removed) / self.by_confidence[0])

    @property
    def random_ause(self) -> float:
        """The same area for a ranking that knows nothing."""
        return float(torch.trapezoid(self.oracle[0] - self.oracle, self.removed) / self.oracle[0])


def sparsification(error: Tensor, confidence: Tensor, valid: Tensor, steps: int = 20) -> Sparsification:
    """Sparsification and calibration curves of per-pixel errors, at least 0, and confidences of equal shapes.

    Raises:
        InputError: unequal shapes, fewer valid pixels than steps, or values that are not finite.
    """
    if error.shape != confidence.shape or valid.shape != error.shape:
        raise InputError(f"unequal shapes: {tuple(error.shape)}, {tuple(confidence.shape)}, {tuple(valid.shape)}")
    error, confidence = error[valid].double(), confidence[valid].double()
    if steps < 2 or len(error) < steps or not torch.isfinite(error).all() or not torch.isfinite(confidence).all():
        raise InputError(f"sparsification needs at least {max(steps, 2)} finite values and 2 steps, got {len(error)}")
    kept = (len(error) - torch.arange(steps, device=error.device) * len(error) // steps).long()
    ascending = confidence.argsort(stable=True)

    def mean_of_kept(order: Tensor) -> Tensor:  # the first k of `order` remain
        return error[order].cumsum(0)[kept - 1] / kept

    bins = [torch.stack([x[part].mean() for part in ascending.tensor_split(steps)]) for x in (confidence, error)]
    return Sparsification(
        1 - kept / len(error),
        mean_of_kept(ascending.flip(0)),
        mean_of_kept(error.argsort()),
        bins[0],
        bins[1],
    )


@dataclass(frozen=True)
class Aggregate:
    """One metric over sequences; sequences where it is NaN are left out and counted."""

    mean: float
    std: float  # population
    sequences: int
    skipped: int


def aggregate(per_sequence: Sequence[Mapping[str, float]]) -> dict[str, Aggregate]:
    """Unweighted mean of every metric over the sequences that have it; all NaN gives a NaN mean."""
    result = {}
    for name in dict.fromkeys(name for values in per_sequence for name in values):
        found = torch.tensor([values.get(name, math.nan) for values in per_sequence], dtype=torch.float64)
        known = found[~found.isnan()]
        std = float(known.std(unbiased=False)) if len(known) else math.nan
        result[name] = Aggregate(float(known.mean()), std, len(known), len(found) - len(known))
    return result
