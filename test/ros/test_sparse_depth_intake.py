"""Messages of measured depth, one by one: read, carried to the image's stamp, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from configs import config

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from depth_messages import CAM_FROM_SENSOR, depth_image, head
from rclpy.time import Time
from room import SIZE, pose
from sensor_msgs.msg import Image, LaserScan, PointCloud2
from sensor_msgs_py.point_cloud2 import create_cloud_xyz32
from std_msgs.msg import Header

from dvlt_ros.mapping.sensors.odometry import CameraInOdom, OdometryError, inverse
from dvlt_ros.mapping.sensors.sparse_depth import DepthError, SparseDepthConfig
from dvlt_ros.ros.config import NodeConfig
from dvlt_ros.ros.inputs.sparse_depth import SparseDepthIntake
from dvlt_ros.sensing.measured_depth import depth_of_image, points_of_cloud, points_of_scan

MOUNTS = {"cam": np.eye(4), "sensor": CAM_FROM_SENSOR}


@pytest.fixture
def make_intake(ros):
    """Intakes of clouds with the mounts of `MOUNTS` and odometry of one's own."""
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
    with pytest.raises(DepthError, match="truncated"):
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
