"""Covariances (7, 7) of the edges: rotation (rad), translation (unit of the later submap), log scale.

All are diagonal. A translation error grows with the depth of the scene, an odometry error with the way that was driven.
"""

from __future__ import annotations

import numpy as np

from ...refinement import MotionDeviation
from .config import PoseGraphConfig
from .factors import library

ODOMETRY_FLOOR_RAD = 5e-4  # a robot that stands still knows its pose to an encoder's tick
ODOMETRY_FLOOR_M = 2e-3


def registration_covariance(config: PoseGraphConfig, depth: float, num_registrations: int) -> np.ndarray:
    """Of a chain of registrations; ``depth``: median of the later submap, in its unit."""
    rotation = float(np.radians(config.registration_rotation_deg))
    return num_registrations * _diagonal(rotation, config.registration_translation * depth, config.registration_scale)


def loop_covariance(
    config: PoseGraphConfig, depth: float, residual: float, motion: MotionDeviation | None = None
) -> np.ndarray:
    """Of a loop closure; ``depth``: median of the later submap, in its unit; ``residual``: relative to the depth;
    ``motion``: how exactly the joint window's tracks tell its cameras, None: it is not refined."""
    told = motion or MotionDeviation(0.0, 0.0)
    rotation = max(float(np.radians(config.loop_rotation_deg)), told.turn)
    return _diagonal(rotation, max(config.loop_translation, residual, told.shift) * depth, config.loop_scale)


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
