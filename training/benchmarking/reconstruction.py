"""Whole clouds against each other: voxels and point-to-point ICP (small_gicp), then distances both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dvlt_ros.errors import ConfigError, DataError

from ..data.readers.optional import optional_package

ICP_ROUNDS = 30
VOXEL_RANGE = 2**20 - 1  # small_gicp leaves out what lies further than so many voxels from the origin


@dataclass(frozen=True)
class ReconstructionRule:
    """In the data set's own unit."""

    voxel: float = 1 / 128
    icp_radius: float = 0.1  # of a correspondence; 0: no ICP
    threshold: float = 0.05  # of precision, recall and F1

    def __post_init__(self) -> None:
        if not self.voxel > 0 or not self.threshold > 0 or not self.icp_radius >= 0:
            raise ConfigError(f"reconstruction needs voxel and threshold above 0 and a radius of at least 0: {self}")


def require_packages() -> tuple[Any, Any]:
    """small_gicp and scipy.spatial. Raises ConfigError, with the command that installs them, where one is missing."""
    purpose = "comparing whole clouds"
    return optional_package("small_gicp", purpose), optional_package("scipy.spatial", purpose)


def reconstruction_metrics(found: np.ndarray, truth: np.ndarray, rule: ReconstructionRule) -> dict[str, float]:
    """Accuracy, completeness and F1 of points (N, 3) against true points (M, 3), already in one frame and unit.

    Raises:
        ConfigError: small_gicp or SciPy is missing. DataError: a cloud without a finite point.
    """
    small_gicp, spatial = require_packages()
    middle = truth[np.isfinite(truth).all(axis=1)].mean(axis=0)  # digits, and the voxels' range, are best near 0
    found, truth = (_thinned(small_gicp, points - middle, rule.voxel) for points in (found, truth))
    registration = {}
    if rule.icp_radius > 0:
        found, registration["icp_overlap"] = _registered(small_gicp, found, truth, rule)
    accuracy = spatial.cKDTree(truth).query(found, workers=-1)[0]
    completeness = spatial.cKDTree(found).query(truth, workers=-1)[0]
    precision, recall = (float(np.mean(d < rule.threshold)) for d in (accuracy, completeness))
    return registration | {
        "accuracy_mean": float(accuracy.mean()),
        "accuracy_median": float(np.median(accuracy)),
        "completeness_mean": float(completeness.mean()),
        "completeness_median": float(np.median(completeness)),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0,
    }


def _thinned(small_gicp: Any, points: np.ndarray, voxel: float) -> np.ndarray:
    """The mean point of every voxel; finite points beyond the voxels' range stay as they are."""
    points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    if not len(points):
        raise DataError("no finite point to compare")
    inside = (np.abs(points) < VOXEL_RANGE * voxel).all(axis=1)
    if not inside.any():
        return points
    thinned = small_gicp.voxelgrid_sampling(points[inside], voxel).points()[:, :3]
    return np.concatenate([thinned, points[~inside]])


def _registered(
    small_gicp: Any, found: np.ndarray, truth: np.ndarray, rule: ReconstructionRule
) -> tuple[np.ndarray, float]:
    """The found points moved onto the truth, and the share of them with a true point within the radius."""
    target, source = small_gicp.PointCloud(truth), small_gicp.PointCloud(found)
    result = small_gicp.align(
        target,
        source,
        small_gicp.KdTree(target),
        registration_type="ICP",
        max_correspondence_distance=rule.icp_radius,
        max_iterations=ICP_ROUNDS,
        rotation_epsilon=1e-6,
        translation_epsilon=1e-3 * rule.voxel,
    )
    truth_from_found = result.T_target_source
    return found @ truth_from_found[:3, :3].T + truth_from_found[:3, 3], result.num_inliers / len(found)
