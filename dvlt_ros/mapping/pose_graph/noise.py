"""Covariances (7, 7) of the edges: rotation (rad), translation (unit of the later submap), log scale.

All are diagonal. A translation error grows with the depth of the scene, an odometry error with the way that was driven.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...refinement import MotionDeviation
from .config import PoseGraphConfig
from .factors import library

ODOMETRY_FLOOR_RAD = 5e-4  # a robot that stands still knows its pose to an encoder's tick
ODOMETRY_FLOOR_M = 2e-3


def registration_covariance(
    config: PoseGraphConfig, depth: float, num_registrations: int, motions: Sequence[MotionDeviation] = ()
) -> np.ndarray:
    """Of a chain of registrations; ``depth``: median of the later submap, in its unit; ``motions``: how exactly the
    tracks tell those of its windows that are refined. No registration is more exact than the window it registers."""
    fixed = MotionDeviation(float(np.radians(config.registration_rotation_deg)), config.registration_translation)
    told = [MotionDeviation(max(fixed.turn, m.turn), max(fixed.shift, m.shift)) for m in motions]
    chain = told + [fixed] * (num_registrations - len(told))
    return sum(
        (_diagonal(window.turn, window.shift * depth, config.registration_scale) for window in chain), np.zeros((7, 7))
    )


def loop_covariance(
    config: PoseGraphConfig, depth: float, residual: float, motion: MotionDeviation | None = None
) -> np.ndarray:
    """Of a loop closure; ``depth``: median of the later submap, in its unit; ``residual``: relative to the depth;
    ``motion``: how exactly the joint window's tracks tell its cameras, None: it is not refined."""
    told = motion or MotionDeviation(0.0, 0.0)
    rotation = max(float(np.radians(config.loop_rotation_deg)), told.turn)
    return _diagonal(rotation, max(config.loop_translation, residual, told.shift) * depth, config.loop_scale)


def weight_left(config: PoseGraphConfig, residual: float, motion: MotionDeviation | None) -> float:
    """Share (0..1] of its weight that is left to a loop whose joint window's tracks tell it less exactly than usual."""
    usual, told = (np.diag(loop_covariance(config, 1.0, residual, known)) for known in (None, motion))
    return float((usual / told).min())


def odometry_covariance(config: PoseGraphConfig, before_from_after: np.ndarray) -> np.ndarray:
    """Of odometry between two cameras (4, 4), metres; it measures no scale, so that entry is not used."""
    distance = float(np.linalg.norm(before_from_after[:3, 3]))
    angle = float(np.linalg.norm(library().Rot3.Logmap(library().Rot3(before_from_after[:3, :3]))))
    heading = config.odom_heading_per_turn**2 * angle + config.odom_heading_per_metre**2 * distance
    position = config.odom_position_per_metre**2 * distance
    return _diagonal((heading + ODOMETRY_FLOOR_RAD**2) ** 0.5, (position + ODOMETRY_FLOOR_M**2) ** 0.5, 1.0)


def _diagonal(rotation: float, translation: float, log_scale: float) -> np.ndarray:
    """(7, 7) from standard deviations."""
    return np.diag(np.square([rotation] * 3 + [translation] * 3 + [log_scale]))
