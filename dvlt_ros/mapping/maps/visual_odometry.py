"""Odometry from the images alone: how the camera has moved from frame to frame, in metres, never corrected.

Its frame is an odom frame as REP-105 has it: continuous, z up, its origin where the camera began, and it drifts. Loop
closures, odometry of the robot and ``map`` have no part in it. Where the motion between two frames is not known, as
another visual map has begun, it goes on where it was, and the variances of that step say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ...refinement.adjusting.rotations import cross_matrix, inverse, rotation_from_vector, vector_from_rotation
from ..front_end.window_result import WindowResult

# Standard deviations of a step from frame to frame, per residual of the window's registration: measured on recorded
# and rendered frames by benchmarks/odometry_covariance.py, as what 68 of 100 components keep.
SHIFT_PER_RESIDUAL = 0.35  # of the median depth
TURN_PER_RESIDUAL = 0.25  # radians
LEAST_RESIDUAL = 0.005  # a smaller one is luck
UNJOINED_RESIDUAL = 0.1  # of a map's first window, which has no registration: the largest that is accepted
UNKNOWN = 9999.0  # variance of what is not known (m^2, rad^2); RTAB-Map begins anew where it sees this


@dataclass(frozen=True, eq=False)
class OdometryStep:
    """Where the camera is, and how it has moved since the frame before; covariances of shift (m), then turn (rad)."""

    stamp_ns: int
    camera: str  # name within a rig
    odom_from_cam: np.ndarray  # (4, 4)
    covariance: np.ndarray  # (6, 6) of odom_from_cam, axes of odom
    before_from_cam: np.ndarray | None  # (4, 4) since the frame before; None: not known
    step_covariance: np.ndarray  # (6, 6) of before_from_cam, axes of the camera now
    duration_s: float  # since the frame before; 0: there is none


class VisualOdometry:
    """Of one camera: of a rig the first one that has a frame. Not thread-safe."""

    def __init__(self) -> None:
        self._camera = ""
        self._visual_id: int | None = None
        self._visual_from_cam = np.eye(4)
        self._latest: OdometryStep | None = None

    def lose(self) -> None:
        """The scale is not known: the motion until it is known again is not, either."""
        self._visual_id = None

    def follow(self, window: WindowResult, map_from_visual: Sim3) -> tuple[OdometryStep, ...]:
        """The steps of a window's new frames, which the front end gives in the unit of its visual map."""
        frames = window.reconstructions
        if frames and window.map_id != self._visual_id:
            self._camera = frames[0].camera
        scale = map_from_visual.scale.item()
        residual = window.registration.residual
        relative = UNJOINED_RESIDUAL if residual is None else max(residual, LEAST_RESIDUAL)
        steps = []
        for frame in frames:
            if frame.camera != self._camera or not np.isfinite(frame.depth).any():
                continue
            motion = None
            if window.map_id == self._visual_id:
                motion = inverse(self._visual_from_cam) @ frame.map_from_cam
                motion[:3, 3] *= scale
            shift = SHIFT_PER_RESIDUAL * relative * scale * float(np.nanmedian(frame.depth))
            begin = map_from_visual.apply_to_poses(frame.map_from_cam)[:3, :3]
            steps.append(self._step(frame.stamp_ns, motion, shift, TURN_PER_RESIDUAL * relative, begin))
            self._visual_id, self._visual_from_cam = window.map_id, frame.map_from_cam
        return tuple(steps)

    def _step(
        self, stamp_ns: int, motion: np.ndarray | None, shift: float, turn: float, begin: np.ndarray
    ) -> OdometryStep:
        """``motion``: None where it is not known; ``begin``: rotation (3, 3) of the first camera in odom."""
        before = self._latest
        step_covariance = np.diag([shift**2] * 3 + [turn**2] * 3) if motion is not None else UNKNOWN * np.eye(6)
        if before is None:
            pose, exact = np.eye(4), 1e-9 * np.eye(6)  # it begins here by definition
            pose[:3, :3] = begin
            self._latest = OdometryStep(stamp_ns, self._camera, pose, exact, None, step_covariance, 0.0)
            return self._latest
        pose = before.odom_from_cam if motion is None else before.odom_from_cam @ motion
        lever = pose[:3, 3] - before.odom_from_cam[:3, 3]
        covariance = carried(before.covariance, lever) + rotated(step_covariance, pose[:3, :3])
        duration_s = (stamp_ns - before.stamp_ns) * 1e-9
        self._latest = OdometryStep(stamp_ns, self._camera, pose, covariance, motion, step_covariance, duration_s)
        return self._latest


def carried(covariance: np.ndarray, lever: np.ndarray) -> np.ndarray:
    """Covariance (6, 6) of a pose for a point that lies by ``lever`` (3,) from it, in the covariance's own axes."""
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -cross_matrix(lever)
    return jacobian @ covariance @ jacobian.T


def rotated(covariance: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Covariance (6, 6) in other axes, by a rotation (3, 3)."""
    both = np.kron(np.eye(2), rotation)
    return both @ covariance @ both.T


def twist_of(motion: np.ndarray, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear (3,) in m/s and angular (3,) in rad/s velocity in the moving frame, constant over a motion (4, 4).

    The straight way is turned by half of the rotation: the chord of an arc lies along its middle.
    """
    turn = vector_from_rotation(motion[:3, :3])
    half = rotation_from_vector(-turn / 2)
    return half @ motion[:3, 3] / duration_s, turn / duration_s
