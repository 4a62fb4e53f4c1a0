"""Gravity over real DDS: level maps by an IMU or a mount, and IMUs that cannot tell."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from configs import config

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time
from room import FRAME_NS, SIZE, FakePredictor, pose, walk
from sensor_msgs.msg import Imu
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster
from transforms3d.quaternions import mat2quat, quat2mat

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.sensors.gravity import STANDARD_GRAVITY, GravityError, turned
from dvlt_ros.ros.config import NodeConfig
from dvlt_ros.ros.messages import matrix_from_pose, transform_message
from dvlt_ros.sensing.imu import motion, orientation_up

UP_WORLD = np.array([0.0, -1.0, 0.0])  # of the room: y is down
PITCH = pose((0, 0, 0), 0.0, 0.4)  # the camera looks 23 degrees up or down
BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]]) @ PITCH
CAM_FROM_IMU = np.eye(4)
CAM_FROM_IMU[:3, :3] = turned(np.array([0.3, 1.2, -0.5]))
IMU_NS, COUNT = 10_000_000, 12


def imu_message(stamp_ns, up_imu, frame_id="imu"):
    """Of an IMU that lies still and has no orientation."""
    message = Imu(header=Header(stamp=Time(nanoseconds=stamp_ns).to_msg(), frame_id=frame_id))
    message.orientation_covariance[0] = -1.0
    a = message.linear_acceleration
    a.x, a.y, a.z = (STANDARD_GRAVITY * up_imu).tolist()
    return message


@pytest.fixture
def make_leaning(make_robot, monkeypatch):
    """Robots whose camera looks up, on a level base, with an IMU."""

    def make(mounts=("cam", "imu"), **parameters):
        level = dict(enumerate(walk(COUNT + 10), start=1))
        yawed = {n: p @ pose((0, 0, 0), 0.0, -0.02 * np.sin(n - 1)) for n, p in level.items()}  # without its pitch
        poses = defaultdict(lambda: pose((0, 0, 0)), {n * FRAME_NS: p @ PITCH for n, p in yawed.items()})
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        options = {"model_image_size": 28, "confidence_cut_share": 0.0, "registration_max_residual": 0.1}
        robot = make_robot(**options | parameters)
        robot.poses = poses
        robot.imu = robot.me.create_publisher(Imu, "imu", 200)
        robot.mounts = StaticTransformBroadcaster(robot.me)
        known = {"cam": BASE_FROM_CAM, "imu": BASE_FROM_CAM @ CAM_FROM_IMU}
        robot.mounts.sendTransform([transform_message(known[name], "base_link", name, 1) for name in mounts])
        robot.start()
        robot.until(lambda: len(robot.sensors.tree._heard) == len(mounts), "the mounts")
        if parameters.get("gravity_source") == "imu":
            robot.until(lambda: robot.imu.get_subscription_count() > 0, "the node's subscription of the IMU")
        return robot

    return make


def up_of_imu(robot, number):
    return (robot.poses[number * FRAME_NS] @ CAM_FROM_IMU)[:3, :3].T @ UP_WORLD


def feel(robot, number, make=imu_message):
    """What the IMU says in the second before a frame."""
    for late in range(-100, 1):
        robot.imu.publish(make(number * FRAME_NS + late * IMU_NS, up_of_imu(robot, number)))
    up = robot.sensors.imu._reader._up
    robot.until(lambda: up._directions and up._directions[-1].stamp_ns >= number * FRAME_NS, "the IMU")


def drive(robot, numbers):
    for number in numbers:
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: robot.parts.mapper.latest_stamp_ns >= n * FRAME_NS, "admission")
        robot.until(lambda: robot.parts.mapper.counters.read().in_flight <= 1, "the window")


def tilts_deg(robot):
    """Between the map's z and the true up, by all poses."""
    found = []
    for message in robot.messages["pose"]:
        map_from_cam = matrix_from_pose(message.pose.pose)
        world_from_cam = robot.poses[Time.from_msg(message.header.stamp).nanoseconds]
        found.append(
            np.degrees(np.arccos(np.clip((world_from_cam @ np.linalg.inv(map_from_cam))[:3, 2] @ UP_WORLD, -1, 1)))
        )
    return found


def wait_for_poses(robot, number):
    robot.until(lambda: number * FRAME_NS in robot.stamps("pose"), "the last pose")


def test_a_map_is_level_by_an_imu_that_hangs_askew(make_leaning):
    robot = make_leaning(gravity_source="imu")
    feel(robot, 11)
    drive(robot, range(11, 11 + COUNT - 2))
    wait_for_poses(robot, 20)
    assert max(tilts_deg(robot)) < 0.5
    status = robot.status()
    assert (status["level"], status["gravity"], status["gravity_problem"]) == (DiagnosticStatus.OK, "imu", "none")


def test_an_imu_that_knows_its_orientation_is_believed(make_leaning):
    robot = make_leaning(gravity_source="imu")

    def oriented(stamp_ns, up_imu):
        message = imu_message(stamp_ns, np.array([0, 0, 1.0]))  # whose acceleration is another
        world_from_imu = np.stack([*np.linalg.svd(up_imu[None])[2][1:], up_imu])
        world_from_imu[0] *= np.linalg.det(world_from_imu)
        q = message.orientation
        q.w, q.x, q.y, q.z = mat2quat(world_from_imu).tolist()
        message.orientation_covariance[0] = 1e-4
        return message

    feel(robot, 11, make=oriented)
    drive(robot, range(11, 15))
    wait_for_poses(robot, 14)
    assert max(tilts_deg(robot)) < 0.5


def test_a_map_is_level_by_the_mount_of_its_camera(make_leaning):
    robot = make_leaning(mounts=("cam",), gravity_source="mount")
    drive(robot, range(1, COUNT))
    wait_for_poses(robot, COUNT - 1)
    assert max(tilts_deg(robot)) < 0.5
    assert robot.status()["gravity"] == "mount"


def test_without_a_source_the_first_image_is_taken_to_be_level(make_leaning):
    robot = make_leaning()
    drive(robot, range(1, COUNT))
    wait_for_poses(robot, COUNT - 1)
    assert min(tilts_deg(robot)) > 20
    status = robot.status()
    assert status["gravity"] == "assumed"
    assert "gravity_problem" not in status


def test_a_map_waits_for_the_imu_and_then_begins_level(make_leaning):
    robot = make_leaning(gravity_source="imu", gravity_patience_s=3600.0)
    drive(robot, range(1, 5))
    robot.until(lambda: robot.status()["in_flight"] == "0", "the last frame to be dropped")
    assert not robot.messages["pose"]
    status = robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert "a new map cannot begin before gravity is known: no imu message has arrived" in status["message"]
    feel(robot, 11)
    drive(robot, range(11, 16))
    wait_for_poses(robot, 15)
    assert max(tilts_deg(robot)) < 0.5
    assert robot.status()["level"] == DiagnosticStatus.OK


def test_an_imu_without_a_mount_is_named_and_the_map_begins_as_the_camera_stands(make_leaning):
    robot = make_leaning(mounts=("cam",), gravity_source="imu", gravity_patience_s=0.0)
    feel(robot, 11)
    drive(robot, range(11, 16))
    wait_for_poses(robot, 15)
    assert min(tilts_deg(robot)) > 20
    status = robot.status()
    assert status["gravity"] == "assumed"
    assert "no transform from 'imu' to 'cam'" in status["gravity_problem"]
    assert status["level"] == DiagnosticStatus.WARN
    assert "the map is not level by gravity: no transform" in status["message"]


def test_messages_that_are_no_gravity_are_refused_by_name(make_leaning):
    robot = make_leaning(gravity_source="imu")
    up = np.array([0, 0, 1.0])
    for bad, words in (
        (imu_message(10**9, np.nan * up), "not finite"),
        (imu_message(0, up), "stamp is zero"),
        (imu_message(10**9, 0 * up), "acceleration is zero"),
        (imu_message(10**9, up, frame_id=""), "no frame_id"),
    ):
        robot.imu.publish(bad)
        robot.until(lambda words=words: any(words in complaint for complaint in robot.complaints), words)


def test_what_an_imu_says_of_itself_decides_what_is_used():
    message = imu_message(1, np.array([0, 0, 1.0]))
    assert orientation_up(message) is None  # REP-145: -1
    message.orientation_covariance[0] = 0.0  # unknown: the default of drivers that have none
    assert orientation_up(message) is None
    message.orientation_covariance[0] = 0.01
    q = message.orientation
    q.w, q.x, q.y, q.z = mat2quat(turned(np.array([0.5, 0, 0]))).tolist()
    np.testing.assert_allclose(orientation_up(message), quat2mat([q.w, q.x, q.y, q.z]).T @ [0, 0, 1])
    q.w = 9.0
    with pytest.raises(GravityError, match="no rotation"):
        orientation_up(message)
    message.angular_velocity_covariance[0] = -1.0
    assert motion(message)[1] is None
    message.linear_acceleration_covariance[0] = -1.0
    with pytest.raises(GravityError, match="neither orientation nor acceleration"):
        motion(message)


def test_gravity_beside_odometry_is_refused_early():
    with pytest.raises(ConfigError, match=r"gravity\.source must be auto beside odometry"):
        config(NodeConfig, gravity_source="imu", odometry_source="topic")
    assert config(NodeConfig, gravity_source="mount").gravity.source == "mount"
