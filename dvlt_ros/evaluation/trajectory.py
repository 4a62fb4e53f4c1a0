"""Errors of a trajectory by evo: matched poses, ATE, RPE and scale drift.

Percentages are of the true path, along the matched poses. A scale is estimated metres per true metre.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from evo import EvoException
from evo.core import geometry, lie_algebra, metrics, sync
from evo.core.trajectory import PoseTrajectory3D
from evo.core.units import Unit

from ..errors import AlignmentError, DataError
from .reading import Trajectory

Alignment = Literal["se3", "sim3"]
ALIGNMENTS: tuple[Alignment, ...] = ("se3", "sim3")
MIN_MATCHES = 3
LENGTH_TOLERANCE = 0.1  # of RPE: a pair of "10 m" is 9 to 11 m apart along the path; each counts with its own length


@dataclass(frozen=True, eq=False)
class Aligned:
    """The estimate in the frame of the truth."""

    truth_from_estimate: np.ndarray  # (4, 4); Sim(3) has its factor in the upper left part
    positions: np.ndarray  # (N, 3)
    errors_m: np.ndarray  # (N,) distances to the true positions
    poses: Any  # evo's trajectory


@dataclass(frozen=True, eq=False)
class Matched:
    """Pairs of estimated and true poses, and the estimate after both alignments."""

    estimate: Trajectory
    truth: Trajectory
    true_poses: Any  # evo's trajectories
    estimated_poses: Any
    distances_m: np.ndarray  # (N,) along the true path
    by_alignment: dict[Alignment, Aligned]

    @property
    def path_m(self) -> float:
        return float(self.distances_m[-1])


@dataclass(frozen=True)
class Spread:
    """Statistics of the errors of all poses."""

    rmse: float
    median: float
    max: float

    @staticmethod
    def of(errors: np.ndarray) -> Spread:
        return Spread(float(np.sqrt(np.mean(np.square(errors)))), float(np.median(errors)), float(errors.max()))


@dataclass(frozen=True)
class RelativeError:
    """Means over all sections of one length; None where the path has no such section."""

    length_m: float
    pairs: int
    translation_percent: dict[Alignment, float] | None
    rotation_deg_per_m: float | None


@dataclass(frozen=True)
class Section:
    begin_m: float
    end_m: float
    scale: float | None  # None: too few poses, or they stand still


@dataclass(frozen=True)
class ScaleDrift:
    overall: float
    sections: list[Section]
    first: float | None
    last: float | None
    drift_percent: float | None  # last over first; None with fewer than two sections


@dataclass(frozen=True)
class Evaluation:
    """All errors of a trajectory."""

    estimate: str
    truth: str
    matched_poses: int
    estimated_poses: int
    true_poses: int
    largest_time_difference_s: float
    path_m: float
    ate_m: dict[Alignment, Spread]
    ate_percent: dict[Alignment, Spread]
    rotation_deg: Spread  # after either alignment: they rotate alike
    rpe: list[RelativeError]
    scale: ScaleDrift
    truth_from_estimate: dict[Alignment, list[list[float]]]


def evaluate(matched: Matched, rpe_lengths_m: Sequence[float], num_sections: int) -> Evaluation:
    aligned, path_m = matched.by_alignment, matched.path_m
    stamps_s = matched.estimated_poses.timestamps, matched.true_poses.timestamps
    return Evaluation(
        estimate=matched.estimate.name,
        truth=matched.truth.name,
        matched_poses=len(stamps_s[0]),
        estimated_poses=len(matched.estimate.stamps_s),
        true_poses=len(matched.truth.stamps_s),
        largest_time_difference_s=float(np.abs(stamps_s[0] - stamps_s[1]).max()),
        path_m=path_m,
        ate_m={name: Spread.of(aligned[name].errors_m) for name in ALIGNMENTS},
        ate_percent={name: Spread.of(100 * aligned[name].errors_m / path_m) for name in ALIGNMENTS},
        rotation_deg=Spread.of(_absolute(matched, "se3", metrics.PoseRelation.rotation_angle_deg)),
        rpe=[relative_error(matched, length_m) for length_m in rpe_lengths_m],
        scale=scale_drift(matched, num_sections),
        truth_from_estimate={name: aligned[name].truth_from_estimate.tolist() for name in ALIGNMENTS},
    )


def match(estimate: Trajectory, truth: Trajectory, max_time_difference_s: float) -> Matched:
    """Matches each pose of the shorter trajectory with the nearest in time of the other, and aligns in both ways.

    Raises:
        DataError: too few poses match, or the ground truth stands still.
        AlignmentError: the positions do not determine the alignment.
    """
    name = f"{estimate.name} against {truth.name}"
    try:
        true_poses, estimated_poses = sync.associate_trajectories(
            _evo(truth), _evo(estimate), max_diff=max_time_difference_s
        )
        count = true_poses.num_poses
    except sync.SyncException:
        count = 0
    if count < MIN_MATCHES:
        spans = [f"{t.name} from {t.stamps_s[0]:.3f} s to {t.stamps_s[-1]:.3f} s" for t in (estimate, truth)]
        raise DataError(
            f"{name}: {count} poses match within {max_time_difference_s} s, "
            f"{MIN_MATCHES} are needed; {', '.join(spans)}"
        )
    distances_m = geometry.accumulated_distances(true_poses.positions_xyz)
    if not distances_m[-1] > 0:
        raise DataError(
            f"{truth.name}: stands still over the {count} matched poses; there is no path to measure against"
        )
    try:
        aligned = {alignment: _align(estimated_poses, true_poses, alignment) for alignment in ALIGNMENTS}
    except EvoException as error:
        raise AlignmentError(f"{name}: no alignment: the positions are all the same or on one line") from error
    return Matched(estimate, truth, true_poses, estimated_poses, distances_m, aligned)


def relative_error(matched: Matched, length_m: float) -> RelativeError:
    """Drift over all sections of one length (along the true path), each by its own true length, as KITTI counts it."""
    truth = matched.true_poses.poses_se3
    try:
        pairs = metrics.id_pairs_from_delta(truth, length_m, Unit.meters, LENGTH_TOLERANCE, all_pairs=True)
    except EvoException:  # none
        return RelativeError(length_m, 0, None, None)
    lengths_m = np.array([matched.distances_m[j] - matched.distances_m[i] for i, j in pairs])
    translation_percent: dict[Alignment, float] = {}
    for name in ALIGNMENTS:
        poses = matched.by_alignment[name].poses.poses_se3
        errors = [metrics.RPE.rpe_base(truth[i], truth[j], poses[i], poses[j]) for i, j in pairs]
        offsets_m = np.array([np.linalg.norm(error[:3, 3]) for error in errors])
        translation_percent[name] = float(np.mean(100 * offsets_m / lengths_m))
    angles_deg = np.array([lie_algebra.so3_log_angle(error[:3, :3], degrees=True) for error in errors])
    return RelativeError(length_m, len(pairs), translation_percent, float(np.mean(angles_deg / lengths_m)))


def scale_drift(matched: Matched, num_sections: int) -> ScaleDrift:
    """The scale of each of several sections of the true path, of the same length."""
    truth, estimate = matched.true_poses.positions_xyz, matched.estimated_poses.positions_xyz
    edges_m = np.linspace(0, matched.path_m, num_sections + 1)
    sections = []
    for begin_m, end_m in pairwise(edges_m.tolist()):
        inside = (matched.distances_m >= begin_m) & (matched.distances_m <= end_m)
        sections.append(Section(begin_m, end_m, scale_between(truth[inside], estimate[inside])))
    known = [section.scale for section in sections if section.scale is not None]
    overall = scale_between(truth, estimate)
    assert overall is not None  # `match` has refused trajectories without a scale
    if len(known) < 2:
        return ScaleDrift(overall, sections, None, None, None)
    return ScaleDrift(overall, sections, known[0], known[-1], 100 * (known[-1] / known[0] - 1))


def scale_between(truth: np.ndarray, estimate: np.ndarray) -> float | None:
    """Estimated metres per true metre of positions (N, 3); None with too few, or where they stand still.

    Umeyama's scale (PAMI 1991) from truth to estimate: in this direction noise of the estimate does not bias it. evo's
    own function refuses straight lines, which determine the scale but not the rotation.
    """
    if len(truth) < MIN_MATCHES:
        return None
    truth, estimate = truth - truth.mean(axis=0), estimate - estimate.mean(axis=0)
    u, spread, vt = np.linalg.svd(estimate.T @ truth)
    spread[2] *= np.sign(np.linalg.det(u @ vt))
    variance = np.square(truth).sum()
    scale = float(spread.sum() / variance) if variance > 0 else 0.0
    return scale if scale > 0 else None


def _align(estimate: Any, truth: Any, alignment: Alignment) -> Aligned:
    poses = copy.deepcopy(estimate)
    rotation, translation, scale = poses.align(truth, correct_scale=alignment == "sim3")
    ate = metrics.APE(metrics.PoseRelation.translation_part)
    ate.process_data((truth, poses))
    return Aligned(lie_algebra.sim3(rotation, translation, scale), poses.positions_xyz, ate.error, poses)


def _absolute(matched: Matched, alignment: Alignment, relation: Any) -> np.ndarray:
    error = metrics.APE(relation)
    error.process_data((matched.true_poses, matched.by_alignment[alignment].poses))
    return error.error


def _evo(trajectory: Trajectory) -> Any:
    quaternions_wxyz = np.roll(trajectory.quaternions, 1, axis=1)
    return PoseTrajectory3D(trajectory.positions.copy(), quaternions_wxyz, trajectory.stamps_s.copy())
