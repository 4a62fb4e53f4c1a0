"""Messages are checked as a subscriber sees them: by their own fields, with ROS's convention of pixel centres."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from cv_bridge import CvBridge
from sensor_msgs.msg import PointField
from sensor_msgs_py import point_cloud2
from slanted_walls import CAMERA, PICTURE_SIZE, STAMP_NS, reconstruction

from dvlt_ros.geometry import matrix_from_quaternion, unproject
from dvlt_ros.mapping.maps.voxel_map import VoxelMap
from dvlt_ros.mapping.outputs.rendering import RenderedFrame, point_records
from dvlt_ros.ros import messages

SIZES = [(96, 128), (48, 64), (120, 160)]


def published(source, size, stride=1, organized=False):
    """Depth, confidence and camera_info, and the points as structured array."""
    frame, head = RenderedFrame(source, size), messages.header("cam", source.stamp_ns)
    depth, confidence = (
        CvBridge().imgmsg_to_cv2(messages.image_message(image, "32FC1", head), "passthrough")
        for image in (frame.depth, frame.confidence)
    )
    cloud = messages.cloud_message(frame.points(stride, organized), head)
    return depth, confidence, messages.camera_info_message(frame, head), cloud


def xyz(cloud):
    points = point_cloud2.read_points(cloud, ["x", "y", "z"])
    return np.stack([points[axis] for axis in "xyz"], axis=-1)


@settings(deadline=None)
@given(st.integers(0, 2**31 * 10**9 - 1))
def test_a_stamp_keeps_every_nanosecond(stamp_ns):
    head = messages.header("cam", stamp_ns)
    assert head.stamp.sec * 10**9 + head.stamp.nanosec == stamp_ns
    assert head.stamp.nanosec < 10**9
    assert head.frame_id == "cam"


@pytest.mark.parametrize(("encoding", "item"), [("32FC1", 4), ("rgb8", 3)])
def test_an_image_is_its_bytes_in_rows(encoding, item):
    rng = np.random.default_rng(0)
    image = rng.random((6, 8), np.float32) if item == 4 else rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image[2, 3] = np.nan if item == 4 else 0
    transposed = image.swapaxes(0, 1)  # not contiguous
    for array in (image, transposed, image[::2]):
        message = messages.image_message(array, encoding, messages.header("cam", STAMP_NS))
        assert (message.height, message.width) == array.shape[:2]
        assert (message.encoding, message.step) == (encoding, item * array.shape[1])
        assert message.is_bigendian == (sys.byteorder == "big")
        assert message.header == messages.header("cam", STAMP_NS)
        assert bytes(message.data) == array.tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("image_size", [56, 112])
@pytest.mark.parametrize("stride", [1, 3])
def test_points_are_depth_times_the_directions_of_camera_info(size, image_size, stride):
    depth, _, info, cloud = published(reconstruction(image_size), size, stride, organized=True)
    assert (info.height, info.width) == depth.shape == size
    columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))  # pixel centres of ROS
    pixels = np.stack([columns, rows, np.ones(size)], axis=-1)
    expected = depth[..., None] * (pixels @ np.linalg.inv(np.array(info.k).reshape(3, 3)).T)
    thin = expected[stride // 2 :: stride, stride // 2 :: stride]
    assert (cloud.height, cloud.width) == thin.shape[:2]
    assert np.isfinite(thin).mean() > 0.5
    np.testing.assert_allclose(xyz(cloud), thin.reshape(-1, 3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_networks_points_project_to_where_the_picture_shows_them(size):
    source = reconstruction()
    info = messages.camera_info_message(RenderedFrame(source, size), messages.header("cam", STAMP_NS))
    depth = torch.from_numpy(source.depth).double()
    points = unproject(depth, torch.from_numpy(source.intrinsics)).numpy()
    image = points @ np.array(info.k).reshape(3, 3).T
    projected = image[..., :2] / image[..., 2:]
    height, width = source.depth.shape
    network = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    picture = source.mapping.to_original(torch.from_numpy(network)).numpy()
    expected = picture * np.array(size)[::-1] / np.array(PICTURE_SIZE)[::-1] - 0.5
    seen = np.isfinite(source.depth)
    assert np.abs(projected - expected)[seen].max() < 0.01


def test_camera_info_is_an_undistorted_pinhole_camera_with_pixel_centres_at_integers():
    info = messages.camera_info_message(RenderedFrame(reconstruction(), PICTURE_SIZE), messages.header("cam", 1))
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    np.testing.assert_allclose(k, CAMERA - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(p, np.hstack([k, np.zeros((3, 1))]))
    np.testing.assert_array_equal(np.array(info.r).reshape(3, 3), np.eye(3))
    assert (info.distortion_model, list(info.d)) == ("plumb_bob", [0.0] * 5)
    assert (info.binning_x, info.roi.width, info.roi.do_rectify) == (0, 0, False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_trusted_is_nowhere_a_number(size, stride):
    source = reconstruction()
    depth, confidence, _, cloud = published(source, size, stride)
    organized = published(source, size, stride, organized=True)[-1]
    trusted = np.isfinite(depth)
    assert 0.5 < trusted.mean() < 0.95
    assert (depth[trusted] > 0).all()
    assert np.isfinite(confidence).all()
    assert (confidence >= 1).all()
    thin = trusted[stride // 2 :: stride, stride // 2 :: stride]
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, thin.sum(), True)
    assert np.isfinite(xyz(cloud)).all()
    assert (organized.height, organized.width, organized.is_dense) == (*thin.shape, False)
    np.testing.assert_array_equal(np.isfinite(xyz(organized)), np.repeat(thin.reshape(-1, 1), 3, axis=1))
    np.testing.assert_array_equal(xyz(organized)[thin.ravel()], xyz(cloud))


def test_no_depth_lies_between_two_surfaces():
    depth = published(reconstruction(), (240, 320))[0]
    near, far = depth[:, :155], depth[:, 165:]
    registration = depth[:, 155:165]
    registration = registration[np.isfinite(registration)]
    assert ((registration <= 1.05 * np.nanmax(near)) | (registration >= np.nanmin(far) / 1.05)).all()
    assert np.nanmin(far) > 1.3 * np.nanmax(near)


def test_a_cloud_has_the_fields_that_viewers_look_for():
    source = reconstruction()
    cloud = published(source, PICTURE_SIZE, organized=True)[-1]
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        (name, 4 * i, PointField.FLOAT32, 1) for i, name in enumerate(("x", "y", "z", "rgb", "confidence"))
    ]
    assert (cloud.point_step, cloud.row_step) == (20, 20 * cloud.width)
    assert len(cloud.data) == cloud.height * cloud.row_step
    assert cloud.is_bigendian == (sys.byteorder == "big")
    assert cloud.header == messages.header("cam", STAMP_NS)
    points = point_cloud2.read_points(cloud)
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    colors = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
    np.testing.assert_array_equal(colors, source.picture.image.reshape(-1, 3))
    np.testing.assert_array_equal(
        points["confidence"].reshape(PICTURE_SIZE), RenderedFrame(source, PICTURE_SIZE).confidence
    )


def test_nothing_trusted_is_an_empty_cloud():
    source = reconstruction()
    source.depth[:] = np.nan
    cloud = published(source, PICTURE_SIZE)[-1]
    assert (cloud.height, cloud.width, len(cloud.data), cloud.is_dense) == (1, 0, 0, True)
    assert len(point_cloud2.read_points(cloud)) == 0


def test_the_map_as_a_cloud():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (500, 3)).astype(np.float32)
    voxels = VoxelMap(0.1, 1000)
    voxels.add(points, rng.integers(0, 255, (500, 3), dtype=np.uint8), np.ones(500), np.zeros(3))
    expected = voxels.cloud()
    cloud = messages.cloud_message(point_records(expected), messages.header("map", STAMP_NS))
    np.testing.assert_array_equal(xyz(cloud), expected[0])
    read = point_cloud2.read_points(cloud)
    np.testing.assert_array_equal(
        np.ascontiguousarray(read["rgb"]).view(np.uint8).reshape(-1, 4)[:, 2::-1], expected[1]
    )
    np.testing.assert_array_equal(read["confidence"], expected[2])
    assert (cloud.header.frame_id, cloud.is_dense) == ("map", True)


@st.composite
def transforms(draw):
    """Rigid (4, 4), half turns and the identity among them."""
    number = st.floats(-1, 1, allow_subnormal=False)
    quaternion = draw(st.lists(number, min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
    matrix = np.eye(4)
    matrix[:3, :3] = matrix_from_quaternion(torch.tensor(quaternion, dtype=torch.float64))
    matrix[:3, 3] = draw(st.lists(st.floats(-100, 100), min_size=3, max_size=3))
    return matrix


@settings(deadline=None)
@given(transforms())
def test_a_transform_there_and_back_is_the_same(parent_from_child):
    message = messages.transform_message(parent_from_child, "parent", "child", STAMP_NS)
    assert (message.header.frame_id, message.child_frame_id) == ("parent", "child")
    rotation = message.transform.rotation
    norm = np.linalg.norm([rotation.x, rotation.y, rotation.z, rotation.w])
    assert norm == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(messages.matrix_from_transform(message.transform), parent_from_child, atol=1e-6)
    pose = messages.pose_message(parent_from_child)
    assert pose.orientation == rotation
    assert (pose.position.x, pose.position.y, pose.position.z) == tuple(parent_from_child[:3, 3])


def test_a_quarter_turn_to_the_left():
    matrix = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], dtype=np.float64)
    turned = messages.pose_message(matrix).orientation
    np.testing.assert_allclose([turned.x, turned.y, turned.z, turned.w], [0, 0, 0.5**0.5, 0.5**0.5], atol=1e-9)


def test_the_covariance_is_of_the_position_then_of_the_rotation():
    head = messages.header("map", STAMP_NS)
    message = messages.pose_with_covariance_message(np.eye(4), deviation=0.2, angle=0.1, head=head)
    covariance = np.array(message.pose.covariance).reshape(6, 6)
    np.testing.assert_allclose(covariance, np.diag([0.04] * 3 + [0.01] * 3))
    assert message.header == head


def test_a_path_has_every_pose_with_its_own_stamp_and_the_header_of_the_last():
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, 3] = rng.normal(size=(5, 3))
    for frame, count in (("map", 3), ("map", 5), ("robot/map", 5)):
        path = messages.path_message(range(1, count + 1), poses[:count], frame)
        assert path.header == messages.header(frame, count)
        assert [pose.header for pose in path.poses] == [messages.header(frame, i + 1) for i in range(count)]
        assert [pose.pose for pose in path.poses] == [messages.pose_message(pose) for pose in poses[:count]]
    moved = messages.path_message([1], poses[1:2], "map")
    assert moved.poses[0].pose == messages.pose_message(poses[1])
    assert messages.path_message([], [], "map").header.frame_id == "map"


@pytest.mark.parametrize("checks", ["0", "1"])
def test_messages_are_filled_with_and_without_field_checks(checks):
    code = (
        "import numpy as np\n"
        "from dvlt_ros.mapping.outputs.rendering import POINT\n"
        "from dvlt_ros.ros import messages\n"
        "head = messages.header('cam', 5)\n"
        "print(len(messages.cloud_message(np.zeros((4, 5), POINT), head).data),\n"
        "      len(messages.image_message(np.zeros((4, 5), np.float32), '32FC1', head).data),\n"
        "      len(messages.path_message([1], [np.eye(4)], 'map').poses),\n"
        "      messages.pose_with_covariance_message(np.eye(4), 0.1, 0.1, head).pose.covariance[0] > 0)\n"
    )
    environment = os.environ | {"ROS_PYTHON_CHECK_FIELDS": checks}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["400", "80", "1", "True"]


def test_no_colour_is_taken_for_nan_by_who_skips_nan():
    source = reconstruction()
    depth, _, _, cloud = published(source, PICTURE_SIZE, organized=True)
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == np.isfinite(depth).sum()
