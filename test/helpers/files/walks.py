"""Trajectories made by hand."""

from __future__ import annotations

import numpy as np

from dvlt_ros.export import write_tum

COUNT = 200
STAMPS_S = 1e9 + 0.1 * np.arange(COUNT)  # as large as ROS times are


def write_walk(path, walk, shift=0.0):
    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = walk[1], walk[0] + shift
    write_tum(path, (1000 * STAMPS_S).round().astype(np.int64) * 10**6, poses)
    return poses
