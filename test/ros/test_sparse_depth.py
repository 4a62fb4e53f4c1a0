"""Measured depth over real DDS: metres from a depth image, a cloud or a scan, and depth that cannot be used."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from configs import config
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

from dvlt_ros.mapping.sensors.odometry import CameraInOdom, OdometryError, inverse
from dvlt_ros.mapping.sensors.sparse_depth import DepthError, SparseDepthConfig, points_of_image
from dvlt_ros.ros.config import NodeConfig
from dvlt_ros.ros.inputs.sparse_depth import SparseDepthIntake, depth_of_image, points_of_cloud, points_of_scan
from dvlt_ros.ros.messages import pose_message, transform_message

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
CAM_FROM_SENSOR = pose((0.2, -0.3, 0.05), 0.1, 0.1)
CAM_FROM_LASER = np.array([[0, -1, 0, 0.05], [0, 0, -1, 0.2], [1, 0, 0, 0], [0, 0, 0, 1.0]])
MOUNTS = {"cam": np.eye(4), "sensor": CAM_FROM_SENSOR}
COUNT = 30
CLOUD = config(NodeConfig, measured_depth_source="cloud")


def head(number, frame_id="sensor", late_ns=0):
    return Header(stamp=Time(nanoseconds=number * FRAME_NS + late_ns).to_msg(), frame_id=frame_id)


def depth_image(depth_m, header, encoding="16UC1", factor=1.0):
    """``factor`` beyond 1 is a driver with the wrong unit."""
    values = depth_m * 1000 if encoding == "16UC1" else depth_m
    data = (values * factor).astype({"16UC1": np.uint16, "32FC1": np.float32}.get(encoding, np.uint16))
    message = Image(header=header, height=SIZE[0], width=SIZE[1], encoding=encoding, step=SIZE[1] * data.itemsize)
    message.data.frombytes(data.tobytes())
    return message


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
    robot.until(lambda: robot.intake._lens is not None, "the camera_info")


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
        robot.until(lambda: words in robot.parts.metric.depth.problem, words)
        assert words in robot.status()["depth_problem"]

    measure(robot, 1)
    robot.show(stamp_ns=FRAME_NS, size=SIZE)
    problem(2, "it has no camera_info on /sparse_depth/camera_info")
    robot.sensor_info.publish(camera_info(size=(48, 64)))
    robot.until(lambda: robot.intake._lens is not None, "the camera_info")
    problem(3, "its camera_info is for 64 x 48 pixels, it has 32 x 24")
    robot.sensor_info.publish(camera_info())
    robot.until(lambda: robot.intake._lens.size == SIZE, "the right camera_info")
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
    assert "sources disagree: depth says" in status["message"]
    assert "times as much as odometry: is its unit right?" in status["message"]
    assert not robot.messages["depth/image"]
    assert not robot.messages["pose"]


@pytest.fixture
def make_intake(ros):
    """Intakes of clouds with the mounts of `MOUNTS` and wheels of one's own."""
    node, made = ros.create_node("measuring"), []

    class Tree:
        def look_up(self, target, source, stamp_ns):
            return inverse(MOUNTS[target]) @ MOUNTS[source]

    def make(odometry=None):
        made.append(
            SparseDepthIntake(
                node, config(NodeConfig, measured_depth_source="cloud"), SparseDepthConfig(), Tree(), odometry
            )
        )
        return made[-1]

    yield make
    for intake in made:
        intake.close()
    node.destroy_node()


@pytest.mark.parametrize("late_ns", [-40_000_000, 40_000_000])
def test_the_motion_between_two_stamps_is_known_with_odometry(make_intake, late_ns):
    """The robot drives 0.8 m/s ahead: at 40 ms that is 3 cm."""

    def odometry(stamp_ns, frame_id):
        if stamp_ns < 10**9:
            raise OdometryError("no odometry has arrived")
        return CameraInOdom(pose((0, 0, 0.8 * stamp_ns * 1e-9)) @ MOUNTS[frame_id], 0)

    intake = make_intake(odometry)
    for begin_ns, drift_m in ((5 * 10**8, 0.0), (5 * 10**9, 0.8 * late_ns * 1e-9)):  # without, and with odometry
        header = Header(stamp=Time(nanoseconds=begin_ns + late_ns).to_msg(), frame_id="sensor")
        intake._on_message(create_cloud_xyz32(header, [(0.1, 0.2, 3.0)]), {})
        expected = CAM_FROM_SENSOR @ [0.1, 0.2, 3.0, 1] + [0, 0, drift_m, 0]
        np.testing.assert_allclose(intake.points(begin_ns, "cam"), [expected[:3]], atol=1e-6)


def test_another_clock_is_suspected_and_a_clock_that_went_back_forgets_what_was_measured(make_intake):
    intake = make_intake()
    for second in (100, 101):
        intake._on_message(create_cloud_xyz32(head(10 * second), [(0.1, 0.2, 3.0)]), {})
    with pytest.raises(DepthError, match=r"95\.000 s newer than the image.* do both use the same clock\?"):
        intake.points(5 * 10**9, "cam")
    intake._on_message(create_cloud_xyz32(head(50, frame_id=""), [(0.1, 0.2, 3.0)]), {})
    assert len(intake._messages) == 1
    with pytest.raises(DepthError, match="it has no frame_id"):
        intake.points(5 * 10**9, "cam")


def test_messages_that_are_no_depth_are_refused_by_name():
    with pytest.raises(DepthError, match=r"encoding 'rgb8' is not that of depth: 16UC1 in millimetres or 32FC1"):
        depth_of_image(Image(encoding="rgb8"))
    short = depth_image(np.ones(SIZE), head(1))
    short.data = short.data[:-1]
    with pytest.raises(DepthError, match="it is truncated"):
        depth_of_image(short)
    with pytest.raises(DepthError, match="fields none, but needs x, y and z"):
        points_of_cloud(PointCloud2())
    short = create_cloud_xyz32(head(1), [(0.0, 0.0, 1.0)] * 3)
    short.width = 4
    with pytest.raises(DepthError, match="it is truncated"):
        points_of_cloud(short)


def test_depth_images_are_read_with_padding_and_in_both_byte_orders():
    values = np.array([[1000, 2500], [0, 65535]], np.uint16)
    for order, is_bigendian in (("<u2", 0), (">u2", 1)):
        message = Image(height=2, width=2, encoding="16UC1", step=6, is_bigendian=is_bigendian)
        message.data.frombytes(b"".join(row.astype(order).tobytes() + b"\xff\xff" for row in values))
        np.testing.assert_allclose(depth_of_image(message), [[1.0, 2.5], [0.0, 65.535]], rtol=1e-6)


def test_a_scan_lies_in_its_plane_and_ranges_that_are_none_are_left_out():
    message = LaserScan(angle_min=0.0, angle_increment=np.pi / 2, range_min=0.1, range_max=10.0)
    message.ranges = [2.0, 3.0, float("inf"), 0.05]
    np.testing.assert_allclose(points_of_scan(message), [[2, 0, 0], [0, 3, 0]], atol=1e-6)
