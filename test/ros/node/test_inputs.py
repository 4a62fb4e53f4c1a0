"""Cameras and robots as they really are: latched or misnamed camera_info, odd encodings, bad stamps and rotations."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Pose
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from robot import HEIGHT, WIDTH
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from dvlt_ros.errors import DataError
from dvlt_ros.ros.complaints import Guard
from dvlt_ros.ros.inputs.tf_tree import TfTree
from dvlt_ros.ros.messages import matrix_from_pose, transform_message


def calibration(frame: str) -> CameraInfo:
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[-0.2, 0.05, 0.0, 0.0, 0.0])
    info.header.frame_id = frame
    info.k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    return info


def image(robot, encoding: str, data: np.ndarray, step: int) -> None:
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step)
    message.data.frombytes(data.tobytes())
    robot.stamp_ns += 100_000_000
    message.header.stamp, message.header.frame_id = Time(nanoseconds=robot.stamp_ns).to_msg(), "cam"
    robot.camera.publish(message)


@pytest.mark.parametrize(("frame", "is_odd"), [("cam", False), ("/cam", False), ("", True), ("other", True)])
def test_camera_info_beside_the_images_is_used_whatever_its_frame_is_called(make_robot, frame, is_odd):
    robot = make_robot()
    robot.start()
    robot.camera_info.publish(calibration(frame))
    robot.until(lambda: robot.node._stream.intake._lenses, "the camera_info")
    robot.show_and_wait(3)
    assert robot.messages["depth/camera_info"][-1].k[0] == pytest.approx(60, rel=0.2)
    problem = robot.node._stream.board.read()["camera_info"].health.text
    assert ("it is used all the same" in problem) == is_odd


@pytest.mark.parametrize("beside", [None, ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
@pytest.mark.parametrize("depth", [1, 10])
def test_camera_info_that_was_published_once_before_is_received(make_robot, depth, beside):
    """Alone, and beside a volatile publisher that says nothing."""
    robot = make_robot()
    qos = QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.where_it_spins(robot.me.destroy_publisher, robot.camera_info)
    if beside is not None:
        robot.me.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=5, reliability=beside))
    latched = robot.me.create_publisher(CameraInfo, "camera_info", qos)
    latched.publish(calibration("cam"))
    robot.start()
    robot.until(lambda: robot.node._stream.intake._lenses, "the latched camera_info")
    robot.show_and_wait(3)
    assert robot.messages["depth/camera_info"][-1].k[0] == pytest.approx(60, rel=0.2)


@pytest.mark.parametrize("encoding", ["jpeg2000", "16UC1", "32FC1", "RGB8"])
def test_a_stream_of_which_nothing_can_be_read_is_an_error_that_names_the_encoding(make_robot, encoding):
    robot = make_robot()
    robot.start()
    for count in range(1, 13):
        image(robot, encoding, np.zeros(WIDTH * HEIGHT, np.uint8), WIDTH)
        robot.until(lambda count=count: robot.parts.mapper.counters.read().refused == count, "the refusal")
    robot.until(lambda: encoding in robot.status()["message"], "the status")
    assert robot.status()["level"] == DiagnosticStatus.ERROR


@pytest.mark.parametrize("before", ["", "/", "//", " /"])
@pytest.mark.parametrize("is_static", [False, True])
def test_frames_of_tf_have_one_name_however_they_are_written(ros, before, is_static):
    """So that nobody becomes a second parent of a frame that has one."""
    node = ros.create_node("tree")
    tree = TfTree(node, timeout_s=0.0)
    odom_from_base = np.eye(4)
    odom_from_base[:3, 3] = 1, 2, 3
    sent = transform_message(odom_from_base, f"{before}odom", f"{before}base_footprint", 5)
    tree._guarded(TFMessage(transforms=[sent]), is_static=is_static)
    assert tree.parent("base_footprint") == "odom"
    np.testing.assert_allclose(tree.look_up("odom", "base_footprint", 5), odom_from_base)
    tree.close()
    node.destroy_node()


@pytest.mark.parametrize("length", [0.96, 0.99, 1.0, 1.04])
def test_quaternions_have_the_tolerance_of_recordings(length):
    pose = Pose()
    pose.orientation.z, pose.orientation.w = 0.6 * length, 0.8 * length
    matrix = matrix_from_pose(pose)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert matrix[1, 0] == pytest.approx(0.96)


@pytest.mark.parametrize(
    ("x", "w", "cause"),
    [(0.0, 0.0, "its quaternion has length 0"), (0.0, 0.9, "length 0.9"), (0.0, np.nan, "length nan"),
     (np.inf, 1.0, r"its position is \(inf, 0, 0\)")],
)  # fmt: skip
def test_what_is_no_pose_says_what_it_holds(x, w, cause):
    pose = Pose()
    pose.position.x, pose.orientation.w = x, w
    with pytest.raises(DataError, match=cause):
        matrix_from_pose(pose)


@pytest.mark.parametrize("error", [ValueError("negative"), DataError("no frame"), KeyError("x")])
def test_whatever_a_callback_raises_is_counted_and_named(error):
    said: list[str] = []

    def callback(_):
        raise error

    guard = Guard("/odom", said.append)
    for _ in range(3):
        guard(callback, object())
    guard(lambda _: None, object())
    assert guard.refused == 3
    assert len(said) == 3
    assert all(text.startswith("/odom: message ") and "refused" in text for text in said)
