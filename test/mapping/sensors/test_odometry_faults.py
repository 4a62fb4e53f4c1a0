"""Odometry that stops, jumps, slips or is wrong, and wrong mounts: the camera keeps its visual pose, with a warning."""

from __future__ import annotations

import numpy as np
import pytest
from drive import (
    BASE_FROM_CAM,
    COUNT,
    LOCKED,
    assert_true,
    by_history,
    numbers_of,
    odometry_messages,
    placed_by,
    undisturbed,
)
from room import FRAME_NS, pose

from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import OdometryError


@pytest.fixture(scope="module")
def drive():
    return undisturbed()


def stops(number, odom_from_base):
    return odom_from_base if number < LOCKED else None


def is_silent_for_a_while(number, odom_from_base):
    return None if number in range(LOCKED, LOCKED + 10) else odom_from_base


def is_nan_for_a_while(number, odom_from_base):
    return np.full((4, 4), np.nan) if number in range(LOCKED, LOCKED + 10) else odom_from_base


def jumps(number, odom_from_base):
    return pose((4, -2, 1), 0.7) @ odom_from_base if number >= LOCKED else odom_from_base


def jumps_and_jumps_back(number, odom_from_base):
    return pose((4, 0, 0)) @ odom_from_base if number in range(LOCKED, LOCKED + 7) else odom_from_base


@pytest.mark.parametrize("fault", [stops, is_silent_for_a_while, is_nan_for_a_while, jumps, jumps_and_jumps_back])
def test_whatever_odometry_does_the_camera_stays_where_it_is_seen(drive, fault):
    predictor, windows = drive
    look_up, refused = by_history(odometry_messages(predictor, fault))
    assert len(refused) == (10 if fault is is_nan_for_a_while else 0)
    metric, placed = placed_by(look_up, windows)
    assert numbers_of([window.window for window in placed])[-1] == COUNT
    assert {window.window.map_id for window in placed} == {0}
    assert_true(placed, predictor)
    assert bool(metric.problem) == (fault is stops)
    assert metric.disagreement == ""


def test_wheels_that_stand_while_the_camera_moves_are_named(drive):
    predictor, windows = drive
    true = dict(odometry_messages(predictor))
    look_up, _ = by_history(odometry_messages(predictor, lambda number, _: true[min(number, LOCKED)]))
    metric = MetricMap(look_up, ScaleConfig())
    said = [metric.disagreement for window in windows if metric.place(window).is_metric]
    assert said[0] == ""
    assert said[-1] == "odometry and images are 1.8 m apart; do the wheels slip?"


@pytest.mark.parametrize("fault", [lambda number, _: None, lambda number, _: np.full((4, 4), np.nan)])
def test_without_one_good_message_nothing_has_metres_and_the_reason_is_said(drive, fault):
    predictor, windows = drive
    metric, placed = placed_by(by_history(odometry_messages(predictor, fault))[0], windows)
    assert placed == []
    assert metric.status.state == "unknown"
    assert metric.problem == "no odometry has arrived"


def test_a_mount_that_becomes_known_late_gives_metres_from_then_on(drive):
    predictor, windows = drive
    by_odometry, _ = by_history(odometry_messages(predictor))

    def look_up(stamp_ns, frame_id):
        if stamp_ns < 20 * FRAME_NS:
            raise OdometryError("no transform from 'cam' to 'base_link'")
        return by_odometry(stamp_ns, frame_id)

    metric = MetricMap(look_up, ScaleConfig())
    assert not metric.place(windows[0]).is_metric
    assert "no transform" in metric.problem
    placed = [window for window in map(metric.place, windows[1:]) if window.is_metric]
    assert 20 < min(numbers_of([window.window for window in placed])) < COUNT
    assert_true(placed, predictor)
    assert metric.problem == ""


@pytest.mark.parametrize(("angle", "is_believed"), [(0.0, True), (0.15, True), (0.6, False)])
def test_the_residual_shows_a_wrong_mount_and_a_very_wrong_one_gives_no_metres(drive, angle, is_believed):
    predictor, windows = drive
    look_up, _ = by_history(odometry_messages(predictor), BASE_FROM_CAM @ pose((0, 0, 0), angle))
    metric, placed = placed_by(look_up, windows)
    assert bool(placed) == is_believed
    if is_believed:
        assert metric.status.residual == pytest.approx(2 * np.sin(angle / 2), abs=0.03)
    else:
        assert "mount" in metric.status.reason
