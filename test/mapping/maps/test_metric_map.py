"""Windows in metres and in one map, through odometry that stops, jumps and drifts, and visual maps that end."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from configs import mapper_config
from room import FRAME_NS, room_depth, turn

from dvlt_ros.geometry import rotation_angle
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.maps.map_from_odom import MAX_STEP_M, MAX_STEP_RAD
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, OdometryError, inverse

COUNT = 40
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 2.0], [-1, 0, 0, -1.0], [0, -1, 0, 0.5], [0, 0, 0, 1]])  # z up, somewhere


@pytest.fixture
def make_windows(make_predictor, make_frame):
    """Windows of the front end along a walk; the front end's map ends at ``restarts`` (frame numbers)."""

    def make(count=COUNT, restarts=()):
        predictor = make_predictor(count)
        front_end = FrontEnd(
            predictor, mapper_config(confidence_cut_share=0.0), clock_ns=itertools.count(0, 10**6).__next__
        )
        windows = []
        for number in range(1, count + 1):
            if number in restarts:
                front_end.begin_anew()
            front_end.admit(make_frame(number))
            if front_end.is_full() and (window := front_end.run()) is not None:
                windows.append(window)
        return windows, predictor.poses

    return make


class SimulatedOdometry:
    """Perfect but for what a test does to it: by frame number, silence, or other poses and another epoch."""

    def __init__(self, poses, silent=(), changes=None):
        self.poses, self.silent, self.changes = poses, set(silent), changes or {}

    def __call__(self, stamp_ns, frame_id):
        number = stamp_ns // FRAME_NS
        if number in self.silent:
            raise OdometryError("no odometry has arrived")
        begun = [start for start in self.changes if start <= number]
        change = self.changes[max(begun)] if begun else np.eye(4)
        return CameraInOdom(change @ ODOM_FROM_WORLD @ self.poses[stamp_ns], len(begun))


def place(windows, odometry):
    metric = MetricMap(odometry, ScaleConfig())
    return metric, [metric.place(window) for window in windows]


def assert_true(placed, poses, map_from_world=ODOM_FROM_WORLD):
    for window in placed:
        for r in window.window.reconstructions:
            np.testing.assert_allclose(r.map_from_cam, map_from_world @ poses[r.stamp_ns], atol=2e-3)
            np.testing.assert_allclose(r.depth, room_depth(poses[r.stamp_ns]), rtol=5e-3)


def test_after_the_lock_all_lengths_are_metres_and_the_map_is_odom(make_windows):
    windows, poses = make_windows()
    metric, placed = place(windows, SimulatedOdometry(poses))
    first = next(i for i, window in enumerate(placed) if window.is_metric)
    assert 0 < first < len(placed) - 2
    assert all(window.is_metric for window in placed[first:])
    assert all(window.window is original for window, original in zip(placed[:first], windows[:first], strict=True))
    assert_true(placed[first:], poses)
    assert metric.status.state == "locked"
    for window in placed[first:]:
        np.testing.assert_allclose(window.map_from_odom, np.eye(4), atol=2e-3)


def test_what_came_before_the_lock_finds_its_place_with_it(make_windows):
    windows, poses = make_windows()
    _, placed = place(windows, SimulatedOdometry(poses))
    (found,) = [window.map_from_visual for window in placed if window.map_from_visual is not None]
    for window in windows[:3]:
        for r in window.reconstructions:
            position = found.matrix.numpy() @ r.map_from_cam[:, 3]
            np.testing.assert_allclose(position, ODOM_FROM_WORLD @ poses[r.stamp_ns][:, 3], atol=5e-3)


def test_where_the_wheels_are_silent_the_eyes_go_on(make_windows):
    windows, poses = make_windows()
    metric, placed = place(windows, SimulatedOdometry(poses, silent=range(32, 38)))
    assert placed[-1].is_metric
    assert_true([window for window in placed if window.is_metric], poses)
    assert metric.problem == ""
    metric, placed = place(windows, SimulatedOdometry(poses, silent=range(32, COUNT + 1)))
    assert placed[-1].is_metric
    assert_true([placed[-1]], poses)
    assert metric.problem == "no odometry has arrived"


def test_another_visual_map_is_laid_where_odometry_has_the_camera(make_windows):
    windows, poses = make_windows(75, restarts=[40])
    _, placed = place(windows, SimulatedOdometry(poses))
    metric_windows = [window for window in placed if window.is_metric]
    stamps = [w.window.reconstructions[-1].stamp_ns // FRAME_NS for w in metric_windows]
    assert min(stamps) < 40 < max(stamps)
    assert len([w for w in placed if w.map_from_visual is not None]) == 2
    assert {w.window.map_id for w in metric_windows} == {0}
    assert_true(metric_windows, poses)


def test_a_jump_of_the_odometry_moves_odom_and_not_the_map(make_windows):
    windows, poses = make_windows()
    jump = np.eye(4)
    jump[:3, :3], jump[:3, 3] = turn(0.7), (5.0, -3.0, 1.0)
    _, placed = place(windows, SimulatedOdometry(poses, changes={35: jump}))
    assert_true([window for window in placed if window.is_metric], poses)
    np.testing.assert_allclose(placed[-1].map_from_odom, np.linalg.inv(jump), atol=5e-3)


def test_when_both_break_another_map_begins(make_windows):
    windows, poses = make_windows(75, restarts=[40])
    jump = np.eye(4)
    jump[:3, 3] = 5.0
    _, placed = place(windows, SimulatedOdometry(poses, changes={40: jump}))
    metric_windows = [window for window in placed if window.is_metric]
    assert [metric_windows[0].window.map_id, metric_windows[-1].window.map_id] == [0, 1]
    assert_true([metric_windows[-1]], poses, jump @ ODOM_FROM_WORLD)


def test_wheels_that_drift_are_followed_in_small_steps(make_windows):
    windows, poses = make_windows(75)
    drift = {number: np.eye(4) for number in range(1, 76)}
    for number, change in drift.items():
        change[:3, :3], change[:3, 3] = turn(0.001 * number), (0.004 * number, 0, 0)

    class Drifting(SimulatedOdometry):
        def __call__(self, stamp_ns, frame_id):
            return replace(super().__call__(stamp_ns, frame_id), epoch=0)

    _, placed = place(windows, Drifting(poses, changes=drift))
    placed = [window for window in placed if window.is_metric]
    for before, after in itertools.pairwise(placed):
        at = after.window.reconstructions[-1]
        at_odom = inverse(after.map_from_odom) @ at.map_from_cam
        step = inverse(before.map_from_odom @ at_odom) @ at.map_from_cam
        assert np.linalg.norm(step[:3, 3]) < 1.2 * MAX_STEP_M
        assert angle(step) < 1.2 * MAX_STEP_RAD
    last, first = (placed[i].window.reconstructions[-1] for i in (-1, 0))
    true = inverse(poses[first.stamp_ns]) @ poses[last.stamp_ns]
    ours = inverse(first.map_from_cam) @ last.map_from_cam
    by_odometry = inverse(drift[first.stamp_ns // FRAME_NS] @ ODOM_FROM_WORLD @ poses[first.stamp_ns])
    by_odometry = by_odometry @ drift[last.stamp_ns // FRAME_NS] @ ODOM_FROM_WORLD @ poses[last.stamp_ns]
    assert np.linalg.norm((ours - true)[:3, 3]) < 0.7 * np.linalg.norm((by_odometry - true)[:3, 3])


def test_a_restart_begins_another_map_at_odom(make_windows):
    windows, poses = make_windows()
    metric, _ = place(windows, SimulatedOdometry(poses))
    metric.restart()
    assert metric.map_id == 1
    placed = metric.place(windows[-1])
    assert not placed.is_metric or np.allclose(placed.map_from_odom, np.eye(4), atol=1e-2)


def angle(step):
    return float(rotation_angle(torch.from_numpy(step[:3, :3])))


def test_a_new_visual_map_is_not_believed_before_it_was_compared(make_windows):
    windows, poses = make_windows(75, restarts=[40])
    small = [replace(w, reconstructions=(r,)) for w in windows for r in w.reconstructions]
    _, placed = place(small, SimulatedOdometry(poses))
    begun = next(i for i, window in enumerate(small) if window.map_id == 1)
    assert placed[begun - 1].is_metric
    assert not placed[begun].is_metric
    assert_true([window for window in placed if window.is_metric], poses)
