"""Stamps that no clock has, on every topic: each is refused with its reason, and the node goes on."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from robot import HEIGHT, WIDTH
from sensor_msgs.msg import CameraInfo, Image, Imu, PointCloud2
from tf2_msgs.msg import TFMessage

STAMPS = [(-1, 0), (-(2**31), 5), (-1, 999_999_999), (0, 0)]


def stamped(message, stamp, frame="cam"):
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame
    return message


def send(robot, kind, topic, messages):
    publisher = robot.me.create_publisher(kind, topic, 10)
    robot.until(lambda: publisher.get_subscription_count() > 0, f"the node's subscription of {topic}")
    for message in messages:
        publisher.publish(message)
    return publisher


def transforms(stamp):
    found = stamped(TransformStamped(child_frame_id="b"), stamp, "a")
    found.transform.rotation.w = 1.0
    return TFMessage(transforms=[found])


def odometry(stamp):
    found = stamped(Odometry(child_frame_id="base_link"), stamp, "odom")
    found.pose.pose.orientation.w = 1.0
    return found


def imu(stamp):
    found = stamped(Imu(), stamp, "imu")
    found.linear_acceleration.z = 9.8
    return found


def image(stamp):
    found = stamped(Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH), stamp)
    found.data.frombytes(bytes(3 * WIDTH * HEIGHT))
    return found


def assert_goes_on(robot):
    robot.show(stamp_ns=10**9)
    robot.stamp_ns = 10**9
    robot.until(lambda: robot.parts.mapper.latest_stamp_ns >= 10**9, "admission")
    for _ in range(3):
        robot.show()
    robot.until(lambda: robot.stamp_ns in robot.stamps("rgb/image_rect"), "the last frame")
    assert all(thread.is_alive() for thread in robot.threads)


def test_images_and_camera_infos(make_robot):
    robot = make_robot()
    robot.start()
    for stamp in STAMPS:
        robot.camera.publish(image(stamp))
        robot.camera_info.publish(stamped(CameraInfo(), stamp))
    robot.until(lambda: robot.parts.mapper.counters.read().refused == len(STAMPS), "the refusals")
    found = robot.status()
    assert found["level"] != DiagnosticStatus.OK
    assert "its stamp is" in found["message"]
    assert_goes_on(robot)
    assert robot.parts.mapper.counters.read().refused == len(STAMPS)


@pytest.mark.parametrize("topic", ["odom", "/tf", "sparse_depth/points"])
def test_what_comes_beside_the_images(make_robot, topic):
    robot = make_robot(odometry_source="topic", measured_depth_source="cloud")
    robot.start()
    make, kind = {
        "odom": (odometry, Odometry), "/tf": (transforms, TFMessage),
        "sparse_depth/points": (lambda stamp: stamped(PointCloud2(), stamp, "laser"), PointCloud2),
    }[topic]  # fmt: skip
    said = []
    robot.sensors.tree._complain._say = said.append
    if robot.sensors.depth is not None:
        robot.sensors.depth._subscriptions[0]._guard._complain._say = said.append
    stamps = STAMPS[:3] if topic == "/tf" else STAMPS  # a transform of the time 0 holds always
    send(robot, kind, topic, [make(stamp) for stamp in stamps])
    robot.until(lambda: any("its stamp is" in text for text in [*said, *robot.complaints]), "the reason")
    assert_goes_on(robot)
    if topic != "/tf":
        problem = robot.status()["odometry_problem" if topic == "odom" else "depth_problem"]
        assert "refused" in problem
        assert "its stamp is" in problem


def test_an_imu(make_robot):
    robot = make_robot(gravity_source="imu", gravity_patience_s=0.0)
    robot.start()
    send(robot, Imu, "imu", [imu(stamp) for stamp in STAMPS])
    robot.until(lambda: sum("imu refused: its stamp is" in text for text in robot.complaints) >= 2, "the reasons")
    assert_goes_on(robot)
    assert "was refused: imu refused: its stamp is zero" in robot.status()["gravity_problem"]
