"""Where an adjustment may begin if the network's depth is better than its poses."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dvlt_ros.refinement.adjusting.rotations import inverse, turn_between
from dvlt_ros.refinement.adjusting.start import depth_starts
from dvlt_ros.refinement.tracking.observations import Observations

FRAMES, TRACKS = 5, 80
NO_POSES = np.tile(np.eye(4), (FRAMES, 1, 1))


def moving():
    """cam_from_window of a camera that goes sideways and turns by 4 degrees a frame."""
    poses = NO_POSES.copy()
    for s, pose in enumerate(poses):
        pose[:3, :3] = cv2.Rodrigues(np.array([0.0, np.radians(4) * s, 0.0]))[0]
        pose[0, 3] = -0.2 * s
    return poses


@pytest.fixture
def sights():
    """What such a camera sees of points in 2 to 5 m, at depths that are off by 10 %."""
    rng = np.random.default_rng(1)
    points = rng.uniform((-1, -1, 2), (1, 1, 5), (TRACKS, 3))
    local = np.einsum("sij,pj->psi", moving()[:, :3, :3], points) + moving()[:, :3, 3]
    seen = local[..., :2] / local[..., 2:]
    depth = local[..., 2] * np.exp(rng.normal(0, 0.1, local.shape[:2]))
    return Observations(500 * seen, np.ones(depth.shape, bool), seen, depth, 500.0, 0.5, np.arange(TRACKS))


def test_the_networks_depth_alone_tells_roughly_how_the_camera_moved(sights):
    starts = list(depth_starts(sights, NO_POSES, most=3))
    assert len(starts) == 3
    for start in starts:
        found = start.cam_from_window @ inverse(start.cam_from_window[0])
        assert np.degrees(turn_between(found[:, :3, :3], moving()[:, :3, :3])).max() < 5
        assert np.linalg.norm(found[-1, :3, 3] - moving()[-1, :3, 3]) < 0.3  # of 0.8


def test_without_depth_there_is_no_such_start(sights):
    assert not list(depth_starts(replace(sights, depth=np.full(sights.depth.shape, np.nan)), NO_POSES, most=3))
    assert not list(depth_starts(sights.select(np.zeros(0, int)), NO_POSES, most=3))
