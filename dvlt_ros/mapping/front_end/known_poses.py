"""What odometry and the mounts of a rig know of a window's cameras, as priors of its bundle adjustment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from ...refinement import PosePrior
from ..data.views import View
from ..inference.prediction import Predictor
from ..inference.refining import RefinementConfig, refining
from ..pose_graph.config import PoseGraphConfig
from ..sensors.odometry import CameraInOdom, OdometryError, inverse
from ..sensors.suite import Sensors

DRIFT = PoseGraphConfig()
LEAST_TURN, LEAST_SHIFT_M = 2e-3, 2e-3  # rad and metres: mounts, stamps and interpolation are no better


def refined(predictor: Predictor, config: RefinementConfig, sensors: Sensors, in_real_time: bool) -> Predictor:
    """The predictor with its windows refined, as ``config`` asks; for ``in_real_time`` see `refining`."""
    return refining(predictor, config, in_real_time, partial(known_poses, sensors))


def known_poses(sensors: Sensors, views: Sequence[View]) -> Iterator[PosePrior]:
    """Relative poses between successive views of a camera by odometry, and between those of a frame set by the mounts.

    Where there is no odometry, or it began anew between two views, nothing is known of them.
    """
    if sensors.odometry is not None:
        yield from _driven(views, sensors.odometry)
    if sensors.rig is not None:
        for i, j in pairwise(range(len(views))):
            if views[i].frame_set == views[j].frame_set:
                first, second = (_turned(sensors.rig.base_from_cam(v.frame.camera), v) for v in (views[i], views[j]))
                yield PosePrior(i, j, inverse(first) @ second, _covariance(0.0, 0.0))


def _driven(views: Sequence[View], odometry: Callable[[int, str], CameraInOdom]) -> Iterator[PosePrior]:
    """The cameras of a rig are driven together: so many of these priors say no more than one of them."""
    cameras = len({view.frame.camera for view in views})
    latest: dict[str, tuple[int, CameraInOdom]] = {}  # by camera
    for index, view in enumerate(views):
        try:
            found = odometry(view.frame.stamp_ns, view.frame.frame_id)
        except OdometryError:  # said where the scale is observed
            continue
        found = replace(found, odom_from_cam=_turned(found.odom_from_cam, view))
        before = latest.get(view.frame.camera)
        latest[view.frame.camera] = index, found
        if before is None or before[1].epoch != found.epoch:
            continue
        moved = inverse(before[1].odom_from_cam) @ found.odom_from_cam
        distance = float(np.linalg.norm(moved[:3, 3]))
        angle = float(np.arccos(np.clip((np.trace(moved[:3, :3]) - 1) / 2, -1, 1)))
        turn = DRIFT.odom_heading_per_turn**2 * angle + DRIFT.odom_heading_per_metre**2 * distance
        covariance = _covariance(turn, DRIFT.odom_position_per_metre**2 * distance)
        yield PosePrior(before[0], index, moved, cameras * covariance)


def _turned(parent_from_cam: np.ndarray, view: View) -> np.ndarray:
    """The pose (4, 4) of a view's camera as the network sees it, turned about its optical axis."""
    turned = parent_from_cam.copy()
    turned[:3, :3] = parent_from_cam[:3, :3] @ view.turn.turned_from_cam.T
    return turned


def _covariance(turn: float, shift: float) -> np.ndarray:
    """(6, 6) from variances in rad² and m²."""
    return np.diag([turn + LEAST_TURN**2] * 3 + [shift + LEAST_SHIFT_M**2] * 3)
