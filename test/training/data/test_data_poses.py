"""Poses from files."""

from __future__ import annotations

import numpy as np

from dvlt_ros.sources.poses import pose_from_quaternion
from dvlt_ros.training.data.sequence import rigid_pose


def test_a_rounded_rotation_becomes_exact():
    pose = pose_from_quaternion((1, 2, 3), (0.0, 0.0, np.sin(0.15), np.cos(0.15)))
    found = rigid_pose(pose.round(3), "file")
    np.testing.assert_allclose(found[:3, :3].T @ found[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found, pose, atol=1e-3)
