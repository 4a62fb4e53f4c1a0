"""The figures of one sequence: one similarity for everything, then points, poses, depth and focal lengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dvlt_ros.alignment import Sim3, fit_sim3_robust
from dvlt_ros.backends.protocol import MultiViewPrediction
from dvlt_ros.errors import AlignmentError, InputError

from ..evaluation.metrics import INLIER_ERROR, DepthAlignment, depth_metrics, pose_metrics, relative_distances
from .reconstruction import ReconstructionRule, reconstruction_metrics
from .scene import Truth

DISTANCES = (0.01, 0.05, 0.2)  # of inliers, in the data set's unit


@dataclass(frozen=True, eq=False)
class Score:
    metrics: dict[str, float]
    truth_from_found: Sim3


def score(
    prediction: MultiViewPrediction,
    truth: Truth,
    depth_alignment: DepthAlignment = "median",
    reconstruction: ReconstructionRule | None = None,
) -> Score:
    """Metrics by name. ``..._depth`` are of the primary points, ``..._world`` of the direct ones, where there are any.

    The primary points are aligned to the truth over all its valid pixels: Umeyama, then once more without the
    largest 5 % of the residuals. Direct points and depths follow the same similarity; confidence counts nowhere.
    Poses are compared in pairs, which no similarity of the world changes.

    Raises:
        InputError: maps of another size than the truth's. AlignmentError: too few or degenerate points.
    """
    _check(prediction, truth)
    valid, true_points = truth.valid, truth.points()[truth.valid]
    primary = prediction.points[valid]
    if not torch.isfinite(primary).all(dim=-1).any():
        raise AlignmentError("the predicted points are not finite")
    truth_from_found = fit_sim3_robust(primary.double(), true_points.double())
    aligned = truth_from_found.apply(primary.double())
    metrics = point_figures(aligned, true_points, "depth")
    if prediction.direct_points is not None:
        direct = truth_from_found.apply(prediction.direct_points[valid].double())
        metrics |= point_figures(direct, true_points, "world")
    metrics |= pose_metrics(prediction.world_from_cam.double(), truth.world_from_cam).named()
    depth = prediction.depth * truth_from_found.scale.to(prediction.depth.dtype)
    metrics |= depth_metrics(depth, truth.depth, valid, depth_alignment).named()
    metrics["focal_error_px"] = focal_error(prediction.intrinsics, truth.intrinsics)
    if reconstruction is not None:
        metrics |= reconstruction_metrics(aligned.numpy(), true_points.numpy(), reconstruction)
    return Score(metrics, truth_from_found)


def point_figures(found: Tensor, truth: Tensor, suffix: str) -> dict[str, float]:
    """Figures of aligned points (N, 3): relative ones to the origin of the data set's world, and plain distances."""
    relative, distance = relative_distances(found, truth.double()), (found - truth).norm(dim=-1)
    figures = {
        "rel": float(relative.mean()),
        "ir": float((relative < INLIER_ERROR).double().mean()),
        "l2": float(distance.mean()),
    }
    figures |= {f"within_{limit:g}": float((distance < limit).double().mean()) for limit in DISTANCES}
    return {f"{name}_{suffix}": value for name, value in figures.items()}


def focal_error(found: Tensor, truth: Tensor) -> float:
    """Mean absolute difference in pixels of both focal lengths of all views; intrinsics (S, 3, 3)."""
    differences = (found.double() - truth).diagonal(dim1=-2, dim2=-1)[:, :2]
    return float(differences.abs().mean())


def _check(prediction: MultiViewPrediction, truth: Truth) -> None:
    size = tuple(truth.depth.shape)
    maps = {"depth": (prediction.depth, size), "points": (prediction.points, (*size, 3))}
    if prediction.direct_points is not None:
        maps["direct points"] = (prediction.direct_points, (*size, 3))
    for name, (value, expected) in maps.items():
        if tuple(value.shape) != expected:
            raise InputError(f"predicted {name} must be {expected}, got {tuple(value.shape)}")
