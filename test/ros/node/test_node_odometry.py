"""The node with odometry, over real DDS: metres or nothing, map -> odom, and odometry that fails."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from lap import EXACT
from nav_msgs.msg import Odometry
from rclpy.time import Time
from robot import SETS, as_image
from robot_odometry import (
    BASE_FROM_CAM,
    ODOM_FROM_WORLD,
    add_odometry,
    drive,
    number_of,
    odom_from_base,
    send_odometry,
    start,
)
from room import FRAME_NS, SIZE, FakePredictor, pose, room_depth, walk
from std_srvs.srv import Trigger
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from dvlt_ros.ros.messages import pose_message, transform_message

LENGTHS = ("depth/image", "points", "pose", "map_points", "/tf")
COUNT = 45


@pytest.fixture
def make_wheeled(make_robot, monkeypatch):
    """Robots whose network is exact up to a gauge per window, with exact odometry."""

    def make(**parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)), {(i + 1) * FRAME_NS: p for i, p in enumerate(walk(COUNT + 5))})
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        options = {"odometry_source": "topic"} | EXACT
        robot = make_robot(**options | parameters)
        add_odometry(robot, poses, parameters.get("frames_prefix", ""))
        return robot

    return make


def test_nothing_has_a_length_before_the_scale_is_known_and_then_it_is_in_metres(make_wheeled):
    robot = make_wheeled(output_publish_unscaled=True)  # it does not count beside odometry
    start(robot)
    drive(robot, range(1, 6))
    status = robot.status()
    assert status["scale_state"] in ("unknown", "estimating")
    assert status["level"] == DiagnosticStatus.WARN
    assert "withheld" in status["message"]
    assert not any(robot.messages[topic] for topic in LENGTHS)
    drive(robot, range(6, COUNT))
    robot.until(lambda: robot.messages["pose"] and number_of(robot.messages["pose"][-1]) == COUNT - 1, "the last pose")
    for message in robot.messages["depth/image"]:
        true = room_depth(robot.poses[number_of(message) * FRAME_NS])
        np.testing.assert_allclose(as_image(message), true, rtol=2e-2)
    for message in robot.messages["pose"]:
        true = (ODOM_FROM_WORLD @ robot.poses[number_of(message) * FRAME_NS])[:3, 3]
        p = message.pose.pose.position
        np.testing.assert_allclose([p.x, p.y, p.z], true, atol=1e-2)
    status = robot.status()
    assert (status["scale_state"], status["scale_source"], status["gravity"]) == ("locked", "odometry", "odometry")
    assert "in metres" in status["message"]
    robot.until(lambda: len(robot.messages["path"][-1].poses) == COUNT - 1, "a path with the frames before the lock")
    first = robot.messages["path"][-1].poses[0]
    p, true = first.pose.position, (ODOM_FROM_WORLD @ robot.poses[number_of(first) * FRAME_NS])[:3, 3]
    np.testing.assert_allclose([p.x, p.y, p.z], true, atol=5e-2)


def test_the_node_adds_map_to_odom_and_nothing_else(make_wheeled):
    robot = make_wheeled()
    start(robot)
    drive(robot, range(1, COUNT))
    robot.until(lambda: len(robot.messages["/tf"]) > 5, "map -> odom, again and again")
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("map", "odom")}
    stamps = [Time.from_msg(t.header.stamp).nanoseconds for t in robot.messages["/tf"]]
    assert stamps == sorted(stamps)
    latest = robot.messages["/tf"][-1].transform
    assert np.allclose([latest.translation.x, latest.translation.y, latest.translation.z], 0, atol=2e-2)
    assert abs(latest.rotation.w) > 0.9999
    assert robot.set(output_stale_after_s=0.2)[0].successful
    robot.until(lambda: robot.parts.anchor.is_stale, "the end of map -> odom")
    robot.until(lambda: robot.status()["level"] == DiagnosticStatus.ERROR, "an error when no frames come")
    robot.status()  # transforms that were under way have arrived
    count = len(robot.messages["/tf"])
    robot.status()  # a second goes by
    assert len(robot.messages["/tf"]) == count


def test_odometry_that_is_not_a_pose_is_refused_and_the_work_goes_on(make_wheeled):
    robot = make_wheeled()
    start(robot)
    drive(robot, range(1, 10))
    bad = Odometry()
    bad.pose.pose = pose_message(odom_from_base(robot, 9))
    bad.pose.pose.position.x = float("nan")
    send_odometry(robot, 10, bad)
    robot.until(lambda: any("its position is (nan" in c for c in robot.complaints), "a complaint")
    bad = Odometry()
    bad.pose.pose.orientation.w = 0.0
    send_odometry(robot, 10, bad)
    robot.until(lambda: robot.status().get("last_problem", "").startswith("odometry refused"), "the status")
    drive(robot, range(10, COUNT))
    robot.until(lambda: robot.messages["pose"], "poses")
    assert robot.status()["scale_state"] == "locked"


def test_without_odometry_everything_is_withheld_and_the_status_says_why(make_wheeled):
    robot = make_wheeled()
    start(robot)
    for number in range(1, 9):
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: n * FRAME_NS in robot.stamps("rgb/image_rect") or n == 1, "the frame")
    status = robot.status()
    assert "no odometry has arrived" in status["message"]
    assert not any(robot.messages[topic] for topic in LENGTHS)
    assert len(robot.messages[SETS[2]]) == 8


def test_odometry_that_falls_silent_leaves_the_camera_in_the_map(make_wheeled):
    robot = make_wheeled()
    start(robot)
    drive(robot, range(1, 35))
    assert robot.status()["scale_state"] == "locked"
    for number in range(35, COUNT):
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: n * FRAME_NS in robot.stamps("pose"), "the frame")
    p = robot.messages["pose"][-1].pose.pose.position
    true = (ODOM_FROM_WORLD @ robot.poses[(COUNT - 1) * FRAME_NS])[:3, 3]
    np.testing.assert_allclose([p.x, p.y, p.z], true, atol=2e-2)
    assert "older than the stamp" in robot.status()["odometry_problem"]


def test_odom_below_somebody_elses_map_is_left_alone(make_wheeled):
    robot = make_wheeled()
    other = StaticTransformBroadcaster(robot.me)
    other.sendTransform([
        transform_message(np.eye(4), "earth", "odom", 1), transform_message(BASE_FROM_CAM, "base_link", "cam", 1),
    ])  # fmt: skip
    start(robot)
    robot.until(lambda: robot.sensors.tree.parent("odom") == "earth", "the other parent")
    drive(robot, range(1, COUNT))
    robot.until(lambda: "'odom' already has the parent 'earth'" in robot.status()["message"], "the reason")
    assert not robot.messages["/tf"]


def test_odometry_from_tf(make_wheeled):
    robot = make_wheeled(odometry_source="tf")
    broadcaster = TransformBroadcaster(robot.me)

    def send_faulty(robot, number):
        broadcaster.sendTransform(
            transform_message(odom_from_base(robot, number), "odom", "base_link", number * FRAME_NS)
        )
        look = robot.sensors.tree._buffer.can_transform
        robot.until(lambda: look("odom", "cam", Time(nanoseconds=number * FRAME_NS)), "the transform")

    start(robot)
    drive(robot, range(1, COUNT), send_faulty)
    robot.until(lambda: robot.messages["pose"] and number_of(robot.messages["pose"][-1]) == COUNT - 1, "the last pose")
    ours = [t for t in robot.messages["/tf"] if t.header.frame_id == "map"]
    assert isinstance(ours[-1], TransformStamped)
    assert {t.child_frame_id for t in ours} == {"odom"}


def test_frames_of_a_robot_with_a_prefix(make_wheeled):
    robot = make_wheeled(frames_prefix="one/")
    start(robot)
    drive(robot, range(1, COUNT))
    robot.until(lambda: len(robot.messages["/tf"]) > 2, "map -> odom")
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("one/map", "one/odom")}
    assert {m.header.frame_id for m in robot.messages["points"]} == {"one/cam"}


def test_after_a_reset_nothing_has_the_scale_of_the_map_before(make_wheeled):
    robot = make_wheeled()
    start(robot)
    drive(robot, range(1, 30))
    robot.until(lambda: robot.status()["scale_state"] == "locked", "the lock")
    assert robot.call(Trigger, "dvlt/reset", Trigger.Request()).success
    drive(robot, range(30, COUNT))
    robot.until(lambda: robot.status()["in_flight"] == "0", "the last frame")
    late = [m for m in robot.messages["depth/image"] if number_of(m) >= 30]
    for message in late:
        true = room_depth(robot.poses[number_of(message) * FRAME_NS])
        np.testing.assert_allclose(as_image(message), true, rtol=2e-2)


def test_a_jump_of_odometry_in_tf_leaves_the_map_where_it_is(make_wheeled):
    robot = make_wheeled(odometry_source="tf")
    broadcaster = TransformBroadcaster(robot.me)

    def send_faulty(robot, number):
        jump = np.eye(4)
        jump[0, 3] = 5.0 if number >= 35 else 0.0
        broadcaster.sendTransform(
            transform_message(jump @ odom_from_base(robot, number), "odom", "base_link", number * FRAME_NS)
        )
        look = robot.sensors.tree._buffer.can_transform
        robot.until(lambda: look("odom", "cam", Time(nanoseconds=number * FRAME_NS)), "the transform")

    start(robot)
    drive(robot, range(1, COUNT), send_faulty)
    robot.until(lambda: robot.messages["pose"] and number_of(robot.messages["pose"][-1]) == COUNT - 1, "the last pose")
    p = robot.messages["pose"][-1].pose.pose.position
    true = (ODOM_FROM_WORLD @ robot.poses[(COUNT - 1) * FRAME_NS])[:3, 3]
    np.testing.assert_allclose([p.x, p.y, p.z], true, atol=5e-2)
    assert any("odometry jumped" in complaint for complaint in robot.complaints)
