"""Measured depth over real DDS: metres from a depth image, a cloud or a scan, and depth that cannot be used."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from configs import config
from depth_messages import CAM_FROM_SENSOR, depth_image, head
from diagnostic_msgs.msg import DiagnosticStatus
from lap import EXACT
from nav_msgs.msg import Odometry
from rclpy.time import Time
from robot import as_image
from room import FRAME_NS, INTRINSICS, SIZE, WALLS, FakePredictor, pose, room_depth, walk
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from sensor_msgs_py.point_cloud2 import create_cloud_xyz32
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.sparse_depth import points_of_image
from dvlt_ros.ros.config import NodeConfig
from dvlt_ros.ros.messages import pose_message, transform_message

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
CAM_FROM_LASER = np.array([[0, -1, 0, 0.05], [0, 0, -1, 0.2], [1, 0, 0, 0], [0, 0, 0, 1.0]])
COUNT = 30
CLOUD = config(NodeConfig, measured_depth_source="cloud")


def camera_info(frame_id="sensor", size=SIZE):
    message = CameraInfo(header=Header(frame_id=frame_id), height=size[0], width=size[1], d=[0.0] * 5)
    message.distortion_model = "plumb_bob"
    message.k = (INTRINSICS - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]).ravel().tolist()
    return message


def scan_of(world_from_sensor, header):
    """What a laser sees of the room, with ranges that are none."""
    count, step = 400, 0.005
    ranges = []
    for angle in -1.0 + step * np.arange(count):
        direction = world_from_sensor[:3, :3] @ [np.cos(angle), np.sin(angle), 0]
        with np.errstate(divide="ignore"):
            hits = (np.where(direction > 0, WALLS[1], WALLS[0]) - world_from_sensor[:3, 3]) / direction
        ranges.append(hits.min())
    ranges[:5] = [np.inf, -np.inf, np.nan, 0.0, 99.0]
    return LaserScan(
        header=header, angle_min=-1.0, angle_max=-1.0 + step * (count - 1), angle_increment=step, range_min=0.05,
        range_max=30.0, ranges=np.array(ranges, np.float32).tolist(),
    )  # fmt: skip


KINDS = {
    "image": (Image, "sparse_depth/image", CAM_FROM_SENSOR),
    "cloud": (PointCloud2, "sparse_depth/points", CAM_FROM_SENSOR),
    "scan": (LaserScan, "scan", CAM_FROM_LASER),
}


@pytest.fixture
def make_measuring(make_robot, monkeypatch):
    """Robots whose network is right up to a gauge per window, with a sensor that measures."""

    def make(kind, mounted=True, **parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)), {(i + 1) * FRAME_NS: p for i, p in enumerate(walk(COUNT + 20))})
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        options = {"measured_depth_source": kind} | EXACT
        robot = make_robot(**options | parameters)
        message, topic, robot.cam_from_sensor = KINDS[kind]
        robot.poses, robot.kind = poses, kind
        robot.sensor = robot.me.create_publisher(message, topic, 10)
        robot.sensor_info = robot.me.create_publisher(CameraInfo, "sparse_depth/camera_info", 10)
        robot.odom = robot.me.create_publisher(Odometry, "odom", 50)
        robot.mounts = StaticTransformBroadcaster(robot.me)
        mounts = [transform_message(BASE_FROM_CAM, "base_link", "cam", 1)]
        if mounted:
            base_from_sensor = BASE_FROM_CAM @ robot.cam_from_sensor
            mounts.append(transform_message(base_from_sensor, "base_link", "sensor", 1))
        robot.mounts.sendTransform(mounts)
        robot.start()
        robot.intake = robot.sensors.depth
        robot.until(lambda: robot.sensor.get_subscription_count() > 0, "the node's subscription of the sensor")
        robot.until(lambda: len(robot.sensors.tree._heard) == len(mounts), "the mounts")
        if kind == "image":
            robot.until(lambda: robot.sensor_info.get_subscription_count() > 0, "the subscription of its camera_info")
        return robot

    return make


def tell_camera_info(robot, **changes):
    robot.sensor_info.publish(camera_info(**changes))
    robot.until(lambda: robot.intake._reader._lens is not None, "the camera_info")


def measure(robot, number, late_ns=0, **changes):
    """What the sensor sees at the stamp of a frame."""
    world_from_sensor = robot.poses[number * FRAME_NS] @ robot.cam_from_sensor
    header = head(number, late_ns=late_ns)
    if robot.kind == "scan":
        message = scan_of(world_from_sensor, header)
    elif robot.kind == "image":
        message = depth_image(room_depth(world_from_sensor), header, **changes)
    else:
        message = create_cloud_xyz32(header, points_of_image(room_depth(world_from_sensor), INTRINSICS)[::2])
    robot.sensor.publish(message)
    stamp_ns = number * FRAME_NS + late_ns
    robot.until(lambda: robot.intake._messages and robot.intake._messages[-1][0] == stamp_ns, "the measurement")


def drive(robot, numbers, before=measure):
    """Frames one after the other, each when the sensor has measured and the frame before is published."""
    for number in numbers:
        before(robot, number)
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: n * FRAME_NS in robot.stamps("rgb/image_rect") or n == 1, "the frame")


@pytest.mark.parametrize("kind", ["image", "cloud", "scan"])
def test_measured_depth_alone_gives_metres(make_measuring, kind):
    robot = make_measuring(kind)
    if kind == "image":
        tell_camera_info(robot)
    drive(robot, range(1, 3))
    assert not any(robot.messages[topic] for topic in ("depth/image", "points", "pose", "/tf", "map_points"))
    drive(robot, range(3, COUNT))
    last_ns = (COUNT - 1) * FRAME_NS
    robot.until(lambda: last_ns in robot.stamps("depth/image"), "the last depth")
    for message in robot.messages["depth/image"]:
        true = room_depth(robot.poses[Time.from_msg(message.header.stamp).nanoseconds])
        np.testing.assert_allclose(as_image(message), true, rtol=3e-2)
    status = robot.status()
    assert status["level"] == DiagnosticStatus.OK
    assert (status["scale_state"], status["scale_source"], status["gravity"]) == ("locked", "depth", "assumed")
    assert status["depth_problem"] == "none"
    robot.until(lambda: robot.messages["/tf"], "map -> base_link")
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("map", "base_link")}


def test_a_laser_that_is_slower_than_the_network_is_heard_all_the_same(make_measuring):
    robot = make_measuring("cloud")

    def measure_the_frame_before(robot, number):
        if number > 1:
            measure(robot, number - 1)

    drive(robot, range(1, COUNT), before=measure_the_frame_before)
    robot.until(lambda: robot.messages["depth/image"], "metres")
    assert robot.status()["scale_source"] == "depth"


def test_without_any_measurement_nothing_has_a_length_and_the_status_says_why(make_measuring):
    robot = make_measuring("cloud", output_publish_unscaled=True)  # it does not count where metres can be had
    drive(robot, range(1, 9), before=lambda *_: None)
    status = robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert "nothing has arrived on /sparse_depth/points" in status["message"]
    assert status["message"].count("nothing has arrived") == 1
    assert not any(robot.messages[topic] for topic in ("depth/image", "points", "pose", "/tf"))


def test_a_depth_image_is_refused_by_name_until_its_driver_is_mended(make_measuring):
    robot = make_measuring("image")

    def problem(number, words, **changes):
        drive(robot, [number], before=lambda robot, n: measure(robot, n, **changes))
        robot.until(lambda: words in robot.parts.mapper.sensors.depth.problem, words)
        assert words in robot.status()["depth_problem"]

    measure(robot, 1)
    robot.show(stamp_ns=FRAME_NS, size=SIZE)
    problem(2, "it has no camera_info on /sparse_depth/camera_info")
    robot.sensor_info.publish(camera_info(size=(48, 64)))
    robot.until(lambda: robot.intake._reader._lens is not None, "the camera_info")
    problem(3, "its camera_info is for 64 x 48 pixels, it has 32 x 24")
    robot.sensor_info.publish(camera_info())
    robot.until(lambda: robot.intake._reader._lens.size == SIZE, "the right camera_info")
    problem(4, "its encoding 'mono16' is not that of depth", encoding="mono16")
    problem(5, "no valid point: all are NaN", encoding="32FC1", factor=np.nan)
    problem(6, "is their unit right? 16UC1 is millimetres", encoding="32FC1", factor=1000.0)
    problem(7, "the nearest message is 0.080 s older than the image", late_ns=-80_000_000)
    drive(robot, range(8, COUNT))
    robot.until(lambda: robot.status()["scale_state"] == "locked", "the lock")


def test_a_sensor_that_is_not_in_tf_is_named_until_it_is(make_measuring):
    robot = make_measuring("cloud", mounted=False)
    drive(robot, range(1, 8))
    status = robot.status()
    assert "no transform from 'sensor' to 'cam'" in status["message"]
    assert not robot.messages["depth/image"]
    robot.mounts.sendTransform([
        transform_message(BASE_FROM_CAM, "base_link", "cam", 1),
        transform_message(BASE_FROM_CAM @ CAM_FROM_SENSOR, "base_link", "sensor", 1),
    ])  # fmt: skip
    robot.until(lambda: "sensor" in robot.sensors.tree._heard, "the mount")
    drive(robot, range(8, COUNT))
    robot.until(lambda: robot.messages["depth/image"], "metres")


def test_depth_in_the_wrong_unit_contradicts_odometry_and_nothing_is_published(make_measuring):
    robot = make_measuring("image", odometry_source="topic", measured_depth_max_m=100_000.0)
    tell_camera_info(robot)

    def both(robot, number):
        measure(robot, number, encoding="32FC1", factor=1000.0)
        message = Odometry(header=head(number, "odom"), child_frame_id="base_link")
        message.pose.pose = pose_message(robot.poses[number * FRAME_NS] @ inverse(BASE_FROM_CAM))
        robot.odom.publish(message)
        robot.until(lambda: (robot.sensors.odometry._history.latest_ns or 0) >= number * FRAME_NS, "the odometry")

    robot.until(lambda: robot.odom.get_subscription_count() > 0, "the subscription of odometry")
    drive(robot, range(1, COUNT), before=both)
    status = robot.status()
    assert "sources disagree: depth gives" in status["message"]
    assert "times as much as odometry: is its unit right?" in status["message"]
    assert not robot.messages["depth/image"]
    assert not robot.messages["pose"]
