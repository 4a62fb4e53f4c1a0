"""A recorded bag becomes a posed RGB-D sequence."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dvlt_ros.training.bag_to_dataset import convert
from dvlt_ros.training.data.bag_frames import BagOptions
from dvlt_ros.training.data.readers.layouts import open_dataset
from dvlt_ros.training.data.registration import register_depth
from dvlt_ros.training.data.rig import Topics

rosbags = pytest.importorskip(
    "rosbags", reason="reading and writing bags needs rosbags: pip install 'rosbags>=0.11,<0.12'"
)
from bag_robot import (  # noqa: E402
    DEPTH,
    IMAGE,
    START,
    Robot,
    camera_info,
    check,
    compressed,
    image,
    tf,
    transform,
    usual,
)
from rosbags.rosbag2 import StoragePlugin  # noqa: E402


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_recording_becomes_a_sequence(tmp_path, robot, plugin):
    bag = usual(robot).write(tmp_path / "bag", plugin)
    report = convert(bag, tmp_path / "out")
    check(robot, tmp_path / "out")
    assert (report.images, report.kept, dict(report.refused)) == (4, 4, {})
    assert (report.world_frame, report.camera_frame) == ("odom", "optical")
    np.testing.assert_allclose(open_dataset(tmp_path / "out")[0].world_from_cam, robot.poses(), atol=1e-6)


def test_a_single_mcap_file_is_enough(tmp_path, robot):
    bag = usual(robot).write(tmp_path / "bag")
    convert(bag / "bag.mcap", tmp_path / "out")
    check(robot, tmp_path / "out")


@pytest.mark.parametrize("encoding", ["bgr8", "bgra8", "mono8"])
def test_colour_encodings(tmp_path, robot, encoding):
    bag = robot.add_tf().add_images(encoding=encoding).add_depth(encoding="16UC1").add_info().write(tmp_path / "bag")
    assert convert(bag, tmp_path / "out").kept == 4
    (sequence,) = open_dataset(tmp_path / "out")
    expected = robot.scene.render(robot.poses()[0])[0]
    if encoding == "mono8":
        expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(sequence.frame(0).image, expected)


@pytest.mark.parametrize("kind", ["16UC1", "32FC1"])
def test_compressed_images_and_depth(tmp_path, robot, kind):
    robot.add_tf().add_info()
    for stamp, pose in zip(robot.stamps, robot.poses(), strict=True):
        rgb, depth = robot.scene.render(pose)
        png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
        robot.add(f"{IMAGE}/compressed", stamp, compressed(stamp, png, "rgb8; png compressed bgr8"))
        quantum, offset = 2000.0, -1.0
        stored = depth * 1000 if kind == "16UC1" else quantum / depth + offset
        head = np.array([0], "<i4").tobytes() + np.array([quantum, offset], "<f4").tobytes()
        data = head + cv2.imencode(".png", np.round(stored).astype(np.uint16))[1].tobytes()
        robot.add(f"{DEPTH}/compressedDepth", stamp, compressed(stamp, data, f"{kind}; compressedDepth png"))
    bag = robot.write(tmp_path / "bag")
    assert convert(bag, tmp_path / "out").kept == 4
    check(robot, tmp_path / "out")


def test_of_raw_and_compressed_topics_the_raw_one_counts(tmp_path, robot):
    usual(robot)
    for stamp in robot.stamps:
        robot.add(f"{IMAGE}/compressed", stamp, compressed(stamp, b"", "rgb8; jpeg compressed bgr8"))
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert report.topics.image == IMAGE


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", (-0.2, 0.05, 0.002, -0.003, 0.0)),
        ("rational_polynomial", (-0.2, 0.05, 0.002, -0.003, 0.0, 0.01, 0.0, 0.001)),
        ("equidistant", (0.1, -0.05, 0.02, -0.01)),
    ],
)
def test_distorted_cameras_are_rectified(tmp_path, box_scene, model, d):
    intrinsics, size = np.diag([4.0, 4, 1]) @ box_scene.intrinsics, (240, 320)
    k = intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    v, u = np.mgrid[:240, :320].astype(float)
    undistort = cv2.fisheye.undistortPoints if model == "equidistant" else cv2.undistortPoints
    rays = undistort(np.stack([u, v], axis=-1).reshape(-1, 1, 2), k, np.array(d)).reshape(240, 320, 2)
    robot = Robot(box_scene, count=2, rays=np.dstack([rays, np.ones(size)]))
    robot.add_tf().add_images().add_depth().add_info(k=intrinsics, size=size, model=model, d=d)
    assert convert(robot.write(tmp_path / "bag"), tmp_path / "out").kept == 2
    check(robot, tmp_path / "out")


def test_binned_and_rectified_images(tmp_path, box_scene):
    robot = Robot(box_scene)
    robot.add_tf().add_images("/camera/image_rect").add_depth("/camera/depth").add_info(
        "/camera/camera_info", k=np.diag([2.0, 2, 1]) @ box_scene.intrinsics, size=(120, 160), binning=2, d=(0.3,) * 5
    )
    convert(robot.write(tmp_path / "bag"), tmp_path / "out", BagOptions(rectified=True))
    check(robot, tmp_path / "out")


def test_depth_of_another_camera_is_registered(tmp_path, robot):
    optical_from_depth = np.eye(4)
    optical_from_depth[0, 3] = 0.05
    k, size = np.diag([3.0, 3, 1]) @ robot.scene.intrinsics, (180, 240)
    robot.add_tf().add_images().add_info()
    robot.add("/tf_static", START, tf(transform(START, "optical", "depth_optical", optical_from_depth)))
    for stamp, pose in zip(robot.stamps, robot.poses(), strict=True):
        depth = robot.scene.render(pose @ optical_from_depth, robot.scene.pixel_rays(k, size))[1]
        robot.add(DEPTH, stamp, image(stamp, depth, "32FC1", "depth_optical"))
        robot.add("/camera/depth/camera_info", stamp, camera_info(stamp, k, size, frame="depth_optical"))
    assert convert(robot.write(tmp_path / "bag"), tmp_path / "out").kept == 4
    check(robot, tmp_path / "out")


def test_registration_keeps_the_nearest_surface():
    k = np.array([[10.0, 0, 5], [0, 10.0, 5], [0, 0, 1]])
    depth = np.full((10, 10), 4.0, np.float32)
    depth[:, 5:] = 2.0
    moved = np.eye(4)
    moved[0, 3] = -1.0  # near points move 5 pixels to the left, far ones 2.5
    registered = register_depth(depth, k, moved, k, (10, 10))
    assert (registered[:, :5] == 2.0).all()
    assert (registered[:, 5:] == 0).all()


def test_poses_from_odometry_when_asked_or_when_tf_does_not_move(tmp_path, robot):
    robot.add_odometry().add_images().add_depth().add_info()
    bag = robot.write(tmp_path / "bag")
    assert convert(bag, tmp_path / "found").topics.odometry == "/odom"
    check(robot, tmp_path / "found")
    robot.add("/tf", START, tf(transform(START, "map", "base_link", np.eye(4))))  # odometry wins over TF
    bag = robot.write(tmp_path / "with_tf")
    assert convert(bag, tmp_path / "asked", BagOptions(topics=Topics(odometry="/odom"))).world_frame == "odom"
    check(robot, tmp_path / "asked")
