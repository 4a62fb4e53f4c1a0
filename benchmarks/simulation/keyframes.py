"""Keyframes along a wall, exact or with a unit that drifts as windows hand it on."""

from __future__ import annotations

import numpy as np

from dvlt_ros.refinement import Keyframe
from dvlt_ros.refinement.adjusting.rotations import inverse

FRAMES, POINTS = 12, 300
DEVIATION = 0.5 / 500
DRIFT = 0.03  # of the unit, from keyframe to keyframe


def path() -> np.ndarray:
    """world_from_cam (S, 4, 4): sideways along a wall, turning a little."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    for s, pose in enumerate(poses):
        angle = 0.1 * np.sin(s / 3)
        pose[0, 0] = pose[2, 2] = np.cos(angle)
        pose[0, 2], pose[2, 0] = np.sin(angle), -np.sin(angle)
        pose[:3, 3] = 0.15 * s, 0.02 * np.cos(s), 0.0
    return poses


def scene(rng: np.random.Generator, noise: float = 0.3) -> tuple[np.ndarray, list[Keyframe]]:
    """Poses, and of each the keyframe of what it sees, depth in metres."""
    points = rng.uniform((-2, -1.5, 2), (4, 1.5, 5), (POINTS, 3))
    poses, keyframes = path(), []
    for pose in inverse(poses):
        local = points @ pose[:3, :3].T + pose[:3, 3]
        seen = local[:, :2] / local[:, 2:]
        visible = np.flatnonzero((np.abs(seen) < 0.5).all(axis=1))
        sights = seen[visible] + noise * DEVIATION * rng.normal(size=(len(visible), 2))
        keyframes.append(Keyframe(visible, sights, local[visible, 2], DEVIATION))
    return poses, keyframes


def drifted(poses: np.ndarray, drift: float = DRIFT) -> tuple[np.ndarray, np.ndarray]:
    """Poses (S, 4, 4) and units (S,) as windows hand a drifting unit on: both grow from keyframe to keyframe."""
    growing = (1 + drift) ** np.arange(len(poses))
    found = poses.copy()
    steps = np.diff(poses[:, :3, 3], axis=0) * growing[1:, None]
    found[1:, :3, 3] = poses[0, :3, 3] + np.cumsum(steps, axis=0)
    return found, growing
