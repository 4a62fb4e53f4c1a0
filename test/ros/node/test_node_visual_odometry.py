"""The topic odometry over real DDS: what robot_localization and RTAB-Map read in a nav_msgs/Odometry."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from lap import EXACT
from robot_odometry import add_odometry, drive, number_of, odom_from_base, start
from room import FRAME_NS, FakePredictor, pose, walk

from dvlt_ros.errors import ConfigError
from dvlt_ros.ros.config import NodeConfig, TfConfig
from dvlt_ros.ros.messages import matrix_from_pose, matrix_from_transform

COUNT = 34


@pytest.fixture
def make_seeing(make_robot, monkeypatch):
    """Robots whose network is exact up to a gauge per window; their metres come from exact odometry."""

    def make(**parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)), {(i + 1) * FRAME_NS: p for i, p in enumerate(walk(COUNT + 5))})
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        robot = make_robot(odometry_source="topic", **EXACT, **parameters)
        add_odometry(robot, poses, parameters.get("frames_prefix", ""))
        return robot

    return make


def test_it_has_what_state_estimators_expect(make_seeing):
    """Frames, stamps of the images, poses of the base, twists in the base's frame, covariances that can be inverted."""
    robot = make_seeing()
    start(robot)
    drive(robot, range(1, COUNT))
    robot.until(lambda: len(robot.messages["odometry"]) > 8, "odometry in metres")
    messages = robot.messages["odometry"]
    for message in messages:
        assert message.header.frame_id == "visual_odom"
        assert message.child_frame_id == "base_link"
        for covariance in (message.pose.covariance, message.twist.covariance):
            matrix = np.asarray(covariance).reshape(6, 6)
            np.testing.assert_allclose(matrix, matrix.T, atol=1e-9 * matrix.max())
            assert np.linalg.eigvalsh(matrix).min() > 0
    assert messages[0].twist.covariance[0] == 9999  # no motion is known yet
    for before, message in pairwise(messages):
        first, second = (odom_from_base(robot, number_of(m)) for m in (before, message))
        truth = np.linalg.inv(first) @ second
        motion = np.linalg.inv(matrix_from_pose(before.pose.pose)) @ matrix_from_pose(message.pose.pose)
        np.testing.assert_allclose(motion, truth, atol=4e-3)
        seconds = (number_of(message) - number_of(before)) * FRAME_NS * 1e-9
        linear = message.twist.twist.linear
        speed = np.linalg.norm([linear.x, linear.y, linear.z])
        assert speed == pytest.approx(np.linalg.norm(truth[:3, 3]) / seconds, abs=0.05)
        assert message.twist.twist.linear.x * truth[0, 3] > 0  # forward in the base's own frame
    heights = [matrix_from_pose(message.pose.pose)[:3, 2] for message in messages]
    true_heights = [odom_from_base(robot, number_of(message))[:3, 2] for message in messages]
    np.testing.assert_allclose(heights, true_heights, atol=5e-3)  # z is up


def test_without_the_mount_it_is_withheld_and_the_status_says_why(make_seeing):
    robot = make_seeing(frames_base="nowhere")
    start(robot)
    drive(robot, range(1, COUNT))
    robot.until(lambda: "odometry is withheld" in robot.status()["message"], "the reason")
    assert "nowhere" in robot.status()["message"]
    assert not robot.messages["odometry"]


def test_for_another_mapper_tf_has_our_odometry_and_no_map(make_seeing):
    robot = make_seeing(tf_mode="odom_to_camera")
    start(robot)
    drive(robot, range(1, COUNT))
    robot.until(lambda: any(t.child_frame_id == "base_link" for t in robot.messages["/tf"]), "our transform")
    robot.until(lambda: len(robot.messages["odometry"]) > 3, "odometry in metres")
    sent = {number_of(t): t for t in robot.messages["/tf"] if t.child_frame_id == "base_link"}
    assert {t.header.frame_id for t in sent.values()} == {"visual_odom"}
    message = next(m for m in robot.messages["odometry"] if number_of(m) in sent)
    transform = matrix_from_transform(sent[number_of(message)].transform)
    np.testing.assert_allclose(transform, matrix_from_pose(message.pose.pose), atol=1e-6)


def test_odometry_in_tf_needs_metres():
    with pytest.raises(ConfigError, match="odom_to_camera needs metres"):
        NodeConfig(tf=TfConfig(mode="odom_to_camera"))
