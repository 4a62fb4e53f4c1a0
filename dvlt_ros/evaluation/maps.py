"""Accuracy and completeness of a map, in the frame of the ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..errors import AlignmentError
from .trajectory import Alignment, Matched

MIN_WIDTH = 0.01  # of the path's length; on a straighter path the rotation about it is not observable


@dataclass(frozen=True)
class Distances:
    """From every point of one cloud to the nearest of the other."""

    mean_m: float
    median_m: float
    share_within: float  # 0 to 1, at most the threshold away

    @staticmethod
    def between(points: np.ndarray, tree: cKDTree, threshold_m: float) -> Distances:
        distances = tree.query(points, workers=-1)[0]
        return Distances(float(distances.mean()), float(np.median(distances)), float(np.mean(distances <= threshold_m)))


@dataclass(frozen=True)
class MapError:
    alignment: Alignment
    points: int
    true_points: int
    threshold_m: float
    accuracy: Distances  # map to truth
    completeness: Distances  # truth to map


def map_error(
    points: np.ndarray, true_points: np.ndarray, matched: Matched, alignment: Alignment, threshold_m: float
) -> MapError:
    """Map points (N, 3) in the frame of the estimate, true points (M, 3) in that of the truth.

    Raises:
        AlignmentError: the path is too straight: the rotation about it is not observable.
    """
    _refuse_straight(matched)
    truth_from_map = matched.by_alignment[alignment].truth_from_estimate
    aligned = points @ truth_from_map[:3, :3].T + truth_from_map[:3, 3]
    return MapError(
        alignment=alignment,
        points=len(points),
        true_points=len(true_points),
        threshold_m=threshold_m,
        accuracy=Distances.between(aligned, cKDTree(true_points), threshold_m),
        completeness=Distances.between(true_points, cKDTree(aligned), threshold_m),
    )


def _refuse_straight(matched: Matched) -> None:
    positions = matched.true_poses.positions_xyz
    spread = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    if spread[1] < MIN_WIDTH * spread[0]:
        raise AlignmentError(
            f"{matched.truth.name}: the path is straight (width over length {spread[1] / spread[0]:.4f}), which leaves "
            "the map's rotation about it open; a map needs a path with a turn"
        )
