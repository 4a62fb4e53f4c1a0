"""Verifies a loop closure: a joint window of views of both submaps must fit each submap.

    prediction = predict(views of the first submap, then those of the second)    # one more window
    loop = verify(prediction, first, second)

Three checks: each submap's depth registers to the joint window with a small residual; in the joint window the views of
both submaps see the same surfaces; and so do the submaps' original depths under the resulting transform. The last check
is the most important one: a network may merge two similar corridors in a joint window, and a robust registration
tolerates a wall that differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ...errors import AlignmentError, InputError
from ...geometry import every
from ..inference.prediction import WindowPrediction
from ..pose_graph.config import LoopClosure
from ..submaps.dynamics import Looking, seen_by
from ..submaps.placement import shared_points, unprojected
from ..submaps.registration import Registration, register_points
from ..submaps.submap import SubmapViews
from .config import LoopVerificationConfig

PIXELS_PER_VIEW = 800  # that are compared with the other submap


@dataclass(frozen=True)
class UnverifiedLoop:
    """Two submaps that failed the verification, and why."""

    first: int
    second: int
    reason: str


def verify(
    prediction: WindowPrediction,
    first: SubmapViews,
    second: SubmapViews,
    config: LoopVerificationConfig | None = None,
    expected_scale: float | None = None,
) -> LoopClosure | UnverifiedLoop:
    """The loop closure between two submaps, or why there is none.

    Args:
        prediction: of the joint window: the first submap's views, then the second one's, in their order.
        expected_scale: the first submap's units per unit of the second, from the map; None: unknown.

    Raises:
        InputError: the prediction has another number of views.
    """
    config = config or LoopVerificationConfig()
    count = len(first.views)
    if len(prediction.depth) != count + len(second.views):
        raise InputError(f"{len(prediction.depth)} views predicted for submaps of {count} and {len(second.views)}")
    parts = _part(prediction, slice(count)), _part(prediction, slice(count, None))
    try:
        first_registration = _registration(parts[0], first, config)
        second_registration = _registration(parts[1], second, config)
        first_from_second = first_registration.map_from_window.compose(second_registration.map_from_window.inverse)
        if expected_scale is not None:
            _check_scale(float(first_from_second.scale), expected_scale, config)
        _check_overlap("together", _joint(parts[0]), _joint(parts[1]), config)
        moved = _stored(second).moved(first_from_second)
        _check_overlap("on their own", _stored(first), moved, config)
    except AlignmentError as error:
        return UnverifiedLoop(first.submap, second.submap, str(error))
    residual = max(first_registration.residual, second_registration.residual)
    return LoopClosure(first.submap, second.submap, first_from_second, residual, motion=prediction.motion)


@dataclass(frozen=True, eq=False)
class _Views:
    """Depth maps and cameras in one frame and unit."""

    depth: np.ndarray  # (V, h, w)
    intrinsics: np.ndarray  # (V, 3, 3)
    frame_from_cam: np.ndarray  # (V, 4, 4)

    def moved(self, target_from_frame: Sim3) -> _Views:
        poses = target_from_frame.apply_to_poses(self.frame_from_cam)
        return _Views(target_from_frame.apply_to_depth(self.depth), self.intrinsics, poses)


def _joint(part: WindowPrediction) -> _Views:
    return _Views(part.depth, part.intrinsics, part.window_from_cam)


def _stored(submap: SubmapViews) -> _Views:
    depth, intrinsics, poses = zip(*((a.depth, a.intrinsics, a.map_from_cam) for a in submap.views), strict=True)
    return _Views(np.stack(depth), np.stack(intrinsics), np.stack(poses))


def _part(prediction: WindowPrediction, views: slice) -> WindowPrediction:
    return WindowPrediction(
        prediction.depth[views], prediction.confidence[views], prediction.window_from_cam[views],
        prediction.intrinsics[views], prediction.mapping,
    )  # fmt: skip


def _registration(part: WindowPrediction, submap: SubmapViews, config: LoopVerificationConfig) -> Registration:
    """Registers the joint window to a submap. Raises AlignmentError: it does not fit."""
    if part.depth.shape[1:] != submap.views[0].depth.shape:
        raise AlignmentError(f"submap {submap.submap} was seen at another size, {submap.views[0].depth.shape}")
    try:
        registration = register_points(shared_points(part, submap.views))
    except AlignmentError as error:
        raise AlignmentError(f"submap {submap.submap} does not fit the joint window: {error}") from error
    if not registration.residual <= config.max_residual:
        raise AlignmentError(
            f"submap {submap.submap} does not fit the joint window: its residual {registration.residual:.3f} is "
            f"above loops.max_residual {config.max_residual}"
        )
    return registration


def _check_scale(found: float, expected: float, config: LoopVerificationConfig) -> None:
    factor = math.exp(abs(math.log(found / expected)))
    if factor > config.max_scale_error:
        raise AlignmentError(
            f"the submaps' scale is off by a factor of {factor:.2f}, more than loops.max_scale_error "
            f"{config.max_scale_error}"
        )


def _check_overlap(how: str, first: _Views, second: _Views, config: LoopVerificationConfig) -> None:
    """Checks both directions, because a close-up lies completely within a wide view, but not the other way round."""
    for views, others in ((first, second), (second, first)):
        same, through = _comparison(views, others, config.depth_tolerance)
        if same < config.min_overlap:
            raise AlignmentError(
                f"seen {how}, the submaps share {same:.0%} of their pixels, less than loops.min_overlap "
                f"{config.min_overlap:.0%}"
            )
        if through > config.max_seen_through * (same + through):
            raise AlignmentError(
                f"seen {how}, one submap looks through {through / (same + through):.0%} of what the other one sees, "
                f"more than loops.max_seen_through {config.max_seen_through:.0%}"
            )


def _comparison(views: _Views, others: _Views, tolerance: float) -> tuple[float, float]:
    """Shares of the pixels of ``views`` that another view sees at the same depth, or looks through: see `seen_by`."""
    points = np.concatenate([_points(*view) for view in _each(views)])
    same, through = np.zeros(len(points), bool), np.zeros(len(points), bool)
    for depth, intrinsics, frame_from_cam in _each(others):
        its_same, its_through = seen_by(points, Looking.of(depth, intrinsics, frame_from_cam), tolerance)
        same |= its_same
        through |= its_through
    count = max(1, len(points))
    return float(same.sum()) / count, float((through & ~same).sum()) / count


def _each(views: _Views) -> Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Depth, intrinsics and pose of each view with a known camera."""
    triples = zip(views.depth, views.intrinsics, views.frame_from_cam, strict=True)
    return [triple for triple in triples if np.isfinite(triple[2]).all()]


def _points(depth: np.ndarray, intrinsics: np.ndarray, frame_from_cam: np.ndarray) -> np.ndarray:
    """Points (N, 3) in the views' frame, evenly thinned."""
    stride = max(1, round((depth.size / PIXELS_PER_VIEW) ** 0.5))
    z = depth[every(stride)].ravel()
    return unprojected(depth, intrinsics, frame_from_cam, stride)[np.isfinite(z) & (z > 0)]
