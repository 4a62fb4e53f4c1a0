"""How many of the latest frames are compared with the odometry."""

from types import SimpleNamespace

import numpy as np
import pytest

from dvlt_ros.mapping.maps.odometry_comparison import COMPARED_FRAMES, OdometryComparison
from dvlt_ros.mapping.sensors.odometry import CameraInOdom

UNIT = 0.5  # metres
JITTER_M = 0.005


def scale_of(step_m, count, unit=lambda k: UNIT):
    """Found scale over the true one of a camera that goes ``step_m`` further with every frame."""
    rng, poses = np.random.default_rng(0), np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = step_m * np.arange(count)
    comparison = OdometryComparison(lambda stamp_ns, _: CameraInOdom(poses[stamp_ns], 0))
    visual, at = np.zeros(3), poses[0, :3, 3]
    for k, pose in enumerate(poses):
        visual, at = visual + (pose[:3, 3] - at) / unit(k), pose[:3, 3]
        seen = np.eye(4)
        seen[:3, 3] = visual + JITTER_M / unit(k) * rng.normal(size=3)
        frame = SimpleNamespace(stamp_ns=k, frame_id="camera", map_from_cam=seen)
        comparison.compare([frame], [comparison.camera(frame)])
    return np.exp(comparison.finding.log_scale) / unit(count - 1)


def test_a_slow_camera_is_compared_over_a_longer_way():
    assert scale_of(0.01, COMPARED_FRAMES[1]) == pytest.approx(1, abs=0.03)


def test_a_fast_camera_is_compared_over_its_latest_frames_alone():
    changing = {True: UNIT, False: 2 * UNIT}
    last = COMPARED_FRAMES[0] + 2  # a comparison every five frames begins with these
    assert scale_of(0.5, 40, lambda k: changing[k < 40 - last]) == pytest.approx(1, abs=0.03)
