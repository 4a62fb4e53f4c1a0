"""Odometry from the images: true motion in metres, breaks that are told, covariances that hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from drive import COUNT, ODOM_FROM_WORLD, Coverable, frame, make_front_end
from room import FRAME_NS

from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.maps.visual_odometry import UNKNOWN, carried, rotated, twist_of
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, inverse
from dvlt_ros.refinement.adjusting.rotations import rotation_from_vector


@pytest.fixture
def make_windows():
    """Windows of the front end along a walk, whose visual map ends at ``restarts`` (frame numbers); and true poses."""

    def make(count=COUNT, restarts=()):
        predictor = Coverable(count=count)
        front_end, _ = make_front_end(predictor)
        windows = []
        for number in range(1, count + 1):
            if number in restarts:
                front_end.begin_anew()
            front_end.admit(frame(number))
            if front_end.is_full() and (window := front_end.run()) is not None:
                windows.append(window)
        return windows, predictor.poses

    return make


def place(windows, poses, jump=None, jumps_at=0):
    """In metres by exact odometry, which is another one from a frame on."""

    def look_up(stamp_ns, _):
        has_jumped = jump is not None and stamp_ns >= jumps_at * FRAME_NS
        odom_from_cam = ODOM_FROM_WORLD @ poses[stamp_ns]
        return CameraInOdom(jump @ odom_from_cam, 1) if has_jumped else CameraInOdom(odom_from_cam, 0)

    metric = MetricMap(look_up, ScaleConfig())
    return [metric.place(window) for window in windows]


def steps_of(updates):
    return [step for update in updates for step in update.odometry]


def test_steps_are_the_true_motion_in_metres(make_windows):
    windows, poses = make_windows()
    updates = place(windows, poses)
    steps = steps_of(updates)
    assert len(steps) > COUNT // 2
    assert steps[0].before_from_cam is None
    np.testing.assert_allclose(steps[0].odom_from_cam[:3, 3], 0)
    for before, step in pairwise(steps):
        truth = inverse(poses[before.stamp_ns]) @ poses[step.stamp_ns]
        np.testing.assert_allclose(step.before_from_cam, truth, atol=2e-3)
        np.testing.assert_allclose(before.odom_from_cam @ step.before_from_cam, step.odom_from_cam, atol=1e-9)
        assert step.duration_s == pytest.approx((step.stamp_ns - before.stamp_ns) * 1e-9)
        assert np.linalg.eigvalsh(step.covariance).min() > 0
        assert np.trace(step.covariance[:3, :3]) > np.trace(before.covariance[:3, :3])


def test_it_is_level_as_the_map_is(make_windows):
    windows, poses = make_windows()
    updates = place(windows, poses)
    first = steps_of(updates)[0]
    expected = (ODOM_FROM_WORLD @ poses[first.stamp_ns])[:3, :3]
    np.testing.assert_allclose(first.odom_from_cam[:3, :3], expected, atol=5e-3)


def test_nothing_is_told_before_the_scale_is_known(make_windows):
    windows, poses = make_windows()
    updates = place(windows, poses)
    assert all(bool(update.odometry) == update.is_metric for update in updates)


def test_jumps_of_the_robots_odometry_do_not_move_it(make_windows):
    windows, poses = make_windows()
    jump = np.eye(4)
    jump[:3, 3] = 5.0, -3.0, 0.0
    still = place(windows, poses)
    jumped = place(windows, poses, jump, jumps_at=45)
    for one, other in zip(steps_of(still), steps_of(jumped), strict=True):
        np.testing.assert_allclose(one.odom_from_cam, other.odom_from_cam, atol=5e-3)


def test_another_visual_map_is_a_step_of_which_nothing_is_known(make_windows):
    windows, poses = make_windows(count=80, restarts=(45,))
    updates = place(windows, poses)
    steps = steps_of(updates)
    (broken,) = [i for i, step in enumerate(steps) if i and step.before_from_cam is None]
    assert steps[broken].stamp_ns >= 45 * FRAME_NS
    np.testing.assert_array_equal(steps[broken].odom_from_cam, steps[broken - 1].odom_from_cam)
    assert np.diag(steps[broken].step_covariance).tolist() == [UNKNOWN] * 6
    assert np.diag(steps[broken].covariance).min() >= UNKNOWN
    after = steps[broken + 1]
    assert np.diag(after.step_covariance).max() < 1
    truth = inverse(poses[steps[broken].stamp_ns]) @ poses[after.stamp_ns]
    np.testing.assert_allclose(after.before_from_cam, truth, atol=2e-3)


def test_covariances_add_up_as_samples_do():
    """20 steps forward and to the left, with noise in each: spread of 4000 ends, and what is told of it."""
    rng = np.random.default_rng(0)
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = rotation_from_vector(np.array([0.0, -0.08, 0.0])), (0.0, 0.0, 0.3)
    shift, turn = 0.01, 0.01
    told, pose = np.zeros((6, 6)), np.eye(4)
    ends = np.tile(np.eye(4), (4000, 1, 1))
    for _ in range(20):
        lever = (pose @ step)[:3, 3] - pose[:3, 3]
        pose = pose @ step
        told = carried(told, lever) + rotated(np.diag([shift**2] * 3 + [turn**2] * 3), pose[:3, :3])
        noisy = np.tile(step, (len(ends), 1, 1))
        noisy[:, :3, 3] += shift * rng.normal(size=(len(ends), 3)) @ step[:3, :3].T
        noisy[:, :3, :3] = noisy[:, :3, :3] @ rotation_from_vector(turn * rng.normal(size=(len(ends), 3)))
        ends = ends @ noisy
    found = np.cov(ends[:, :3, 3].T)
    np.testing.assert_allclose(np.sqrt(np.diag(found)), np.sqrt(np.diag(told)[:3]), rtol=0.1)


def test_a_constant_twist_is_found_again():
    """Round a curve: forward 1 m/s, 0.5 rad/s about z."""
    duration_s, turn = 0.2, 0.5 * 0.2
    motion = np.eye(4)
    motion[:3, :3] = rotation_from_vector(np.array([0.0, 0.0, turn]))
    motion[:3, 3] = 2 * np.array([np.sin(turn), 1 - np.cos(turn), 0.0])  # radius 2 m
    linear, angular = twist_of(motion, duration_s)
    np.testing.assert_allclose(linear, [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(angular, [0, 0, 0.5], atol=1e-9)
