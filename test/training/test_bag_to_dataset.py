"""A recording of the box scene, written with rosbags as a robot would, becomes a sequence that shows the box."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.training.bag_to_dataset import convert, main
from dvlt_ros.training.data.bag_frames import BagOptions
from dvlt_ros.training.data.layouts import open_dataset
from dvlt_ros.training.data.registration import register_depth
from dvlt_ros.training.data.rig import Topics

rosbags = pytest.importorskip(
    "rosbags", reason="reading and writing bags needs rosbags: pip install 'rosbags>=0.11,<0.12'"
)

from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

SECOND = 10**9
START = 1_700_000_000 * SECOND
STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE, DEPTH, INFO = "/camera/color/image_raw", "/camera/depth/image_raw", "/camera/color/camera_info"
OPTICAL = np.array([[0.0, 0, 1, 0.1], [-1, 0, 0, 0.02], [0, -1, 0, 0.3], [0, 0, 0, 1]])  # base_from_optical


def message(kind: str, **values: Any) -> Any:
    return STORE.types[kind](**values)


def header(stamp: int, frame: str) -> Any:
    time = message("builtin_interfaces/msg/Time", sec=stamp // SECOND, nanosec=stamp % SECOND)
    return message("std_msgs/msg/Header", stamp=time, frame_id=frame)


def quaternion(rotation: np.ndarray) -> Any:
    x, y, z, w = quaternion_from_matrix(torch.from_numpy(rotation.copy())).tolist()
    return message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def transform(stamp: int, parent: str, child: str, pose: np.ndarray) -> Any:
    x, y, z = pose[:3, 3].tolist()
    translation = message("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
    body = message("geometry_msgs/msg/Transform", translation=translation, rotation=quaternion(pose[:3, :3]))
    kind = "geometry_msgs/msg/TransformStamped"
    return message(kind, header=header(stamp, parent), child_frame_id=child, transform=body)


def tf(*transforms: Any) -> Any:
    return message("tf2_msgs/msg/TFMessage", transforms=list(transforms))


def odometry(stamp: int, pose: np.ndarray, parent: str = "odom", child: str = "base_link") -> Any:
    x, y, z = pose[:3, 3].tolist()
    point = message("geometry_msgs/msg/Point", x=x, y=y, z=z)
    body = message("geometry_msgs/msg/Pose", position=point, orientation=quaternion(pose[:3, :3]))
    zero = message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    twist = message("geometry_msgs/msg/Twist", linear=zero, angular=zero)
    with_covariance = "geometry_msgs/msg/{}WithCovariance".format
    return message(
        "nav_msgs/msg/Odometry",
        header=header(stamp, parent),
        child_frame_id=child,
        pose=message(with_covariance("Pose"), pose=body, covariance=np.zeros(36)),
        twist=message(with_covariance("Twist"), twist=twist, covariance=np.zeros(36)),
    )


def image(stamp: int, pixels: np.ndarray, encoding: str, frame: str = "optical", padding: int = 0) -> Any:
    row = int(np.prod(pixels.shape[1:]))
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), row).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return message(
        "sensor_msgs/msg/Image",
        header=header(stamp, frame),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.ravel(),
    )


def compressed(stamp: int, data: bytes, form: str, frame: str = "optical") -> Any:
    array = np.frombuffer(data, dtype=np.uint8)
    return message("sensor_msgs/msg/CompressedImage", header=header(stamp, frame), format=form, data=array)


def camera_info(
    stamp: int,
    k: np.ndarray,
    size: tuple[int, int],
    model: str = "plumb_bob",
    d=(0.0,) * 5,
    frame: str = "optical",
    **binning: int,
) -> Any:
    """``k`` has pixel (0, 0) at (0.5, 0.5); the message has it at (0, 0)."""
    k = k - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    p = np.hstack([k, np.zeros((3, 1))])
    kind = "sensor_msgs/msg/RegionOfInterest"
    roi = message(kind, x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return message(
        "sensor_msgs/msg/CameraInfo",
        header=header(stamp, frame),
        height=size[0],
        width=size[1],
        distortion_model=model,
        d=np.array(d, dtype=float),
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=p.ravel(),
        binning_x=binning.get("binning", 0),
        binning_y=binning.get("binning", 0),
        roi=roi,
    )


@dataclass
class Robot:
    """A base that drives and turns evenly, with a camera on it, and what it records."""

    scene: Any
    count: int = 4
    rays: np.ndarray | None = None
    records: list[tuple[str, int, Any]] = field(default_factory=list)  # topic, log time, message

    @property
    def stamps(self) -> list[int]:
        return [START + 137_000_000 + 200_000_000 * i for i in range(self.count)]

    def base(self, stamp: int) -> np.ndarray:
        t = (stamp - START) / SECOND
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(0.6 * t), -np.sin(0.6 * t)], [np.sin(0.6 * t), np.cos(0.6 * t)]]
        roll = np.eye(3)
        roll[1:, 1:] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
        pose[:3, :3] = pose[:3, :3] @ roll
        pose[:3, 3] = 0.6 * t - 0.5, 0.2 * t, -0.4
        return pose

    def poses(self) -> np.ndarray:
        return np.stack([self.base(stamp) @ OPTICAL for stamp in self.stamps])

    def add(self, topic: str, log_time: int, content: Any) -> Robot:
        self.records.append((topic, log_time, content))
        return self

    def add_tf(self, hole: tuple[float, float] | None = None) -> Robot:
        """/tf at 10 Hz between the images, and the camera's mount; nothing within ``hole`` (seconds)."""
        self.add("/tf_static", START, tf(transform(START, "base_link", "optical", OPTICAL)))
        for i in range(12):
            stamp = START + i * SECOND // 10
            if hole is None or not hole[0] < i / 10 < hole[1]:
                self.add("/tf", stamp, tf(transform(stamp, "odom", "base_link", self.base(stamp))))
        return self

    def add_odometry(self, topic: str = "/odom") -> Robot:
        self.add("/tf_static", START, tf(transform(START, "base_link", "optical", OPTICAL)))
        for i in range(12):
            stamp = START + i * SECOND // 10
            self.add(topic, stamp, odometry(stamp, self.base(stamp)))
        return self

    def add_images(self, topic: str = IMAGE, encoding: str = "rgb8") -> Robot:
        for stamp, pose in zip(self.stamps, self.poses(), strict=True):
            self.add(
                topic,
                stamp,
                image(stamp, colours(self.scene.render(pose, self.rays)[0], encoding), encoding, padding=3),
            )
        return self

    def add_depth(self, topic: str = DEPTH, encoding: str = "32FC1", late_ns: int = 5_000_000) -> Robot:
        for stamp, pose in zip(self.stamps, self.poses(), strict=True):
            depth = self.scene.render(pose, self.rays)[1]
            stored = np.round(depth * 1000).astype(np.uint16) if encoding == "16UC1" else depth
            self.add(topic, stamp + late_ns, image(stamp + late_ns, stored, encoding))
        return self

    def add_info(self, topic: str = INFO, **changes: Any) -> Robot:
        values = {"k": self.scene.intrinsics, "size": self.scene.size} | changes
        for stamp in self.stamps:
            self.add(topic, stamp, camera_info(stamp, **values))
        return self

    def write(self, path: Path, plugin: StoragePlugin = StoragePlugin.MCAP) -> Path:
        with Writer(path, version=9, storage_plugin=plugin) as writer:
            connections: dict[str, Any] = {}
            for topic, stamp, content in sorted(self.records, key=lambda record: record[1]):
                kind = content.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
                writer.write(connections[topic], stamp, STORE.serialize_cdr(content, kind))
        return path


def colours(rgb: np.ndarray, encoding: str) -> np.ndarray:
    if encoding == "rgb8":
        return rgb
    code = {"bgr8": cv2.COLOR_RGB2BGR, "bgra8": cv2.COLOR_RGB2BGRA, "mono8": cv2.COLOR_RGB2GRAY}[encoding]
    return cv2.cvtColor(rgb, code)


@pytest.fixture
def robot(box_scene) -> Robot:
    return Robot(box_scene)


def usual(robot: Robot) -> Robot:
    return robot.add_tf().add_images().add_depth().add_info()


def check(robot: Robot, out: Path, kept: list[int] | slice = slice(None)) -> None:
    (sequence,) = open_dataset(out)
    robot.scene.check(sequence, robot.poses()[kept])


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


def test_every_refused_frame_is_counted_with_its_reason(tmp_path, box_scene):
    robot = Robot(box_scene, count=5)
    robot.add_tf(hole=(0.45, 0.65)).add_images().add_depth().add_info()
    stamps = robot.stamps  # 0.137, 0.337, 0.537 (in the hole), 0.737, 0.937 s
    depths = [record for record in robot.records if record[0] == DEPTH]
    robot.records.remove(depths[0])
    depths[3][2].data = depths[3][2].data[:100]
    again = stamps[1] + 1_000_000
    robot.add(IMAGE, again, image(again, box_scene.render(robot.poses()[1])[0], "rgb8"))
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out", BagOptions(max_gap_s=0.15))
    assert report.kept == 2
    assert report.refused == {
        "no depth within tolerance": 1,
        "no transform at stamp": 1,
        "too little motion": 1,
        "unreadable image or depth": 1,
    }
    assert report.images == report.kept + sum(report.refused.values())
    assert "a gap of 0.300 s" in report.examples["no transform at stamp"]
    assert "odom -> base_link" in report.examples["no transform at stamp"]
    assert "truncated: 100 bytes" in report.examples["unreadable image or depth"]
    check(robot, tmp_path / "out", [1, 4])
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["refused"] == report.refused
    assert written["topics"]["depth"] == DEPTH
    assert "too little motion" in report.table()


def test_images_beyond_the_transforms_are_refused(tmp_path, box_scene):
    robot = Robot(box_scene, count=7)  # TF ends at 1.1 s
    report = convert(usual(robot).write(tmp_path / "bag"), tmp_path / "out")
    assert report.refused == {"no transform at stamp": 2}
    assert "the poses end 0.037 s from it" in report.examples["no transform at stamp"]
    check(robot, tmp_path / "out", slice(5))


def test_at_most_so_many_frames(tmp_path, robot):
    report = convert(usual(robot).write(tmp_path / "bag"), tmp_path / "out", BagOptions(max_frames=2))
    assert report.refused == {"beyond max_frames": 2}
    check(robot, tmp_path / "out", [0, 3])


@pytest.mark.parametrize(
    ("info", "reason", "message"),
    [
        ({"k": np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])}, "no camera_info", "the camera is not calibrated"),
        ({"model": "kannala"}, "no camera_info", "distortion model 'kannala' is not one of"),
        ({"size": (30, 40)}, "unreadable image or depth", "the image is 80 x 60 but its camera_info 40 x 30"),
    ],
)
def test_cameras_that_cannot_be_used(tmp_path, robot, info, reason, message):
    bag = robot.add_tf().add_images().add_depth().add_info(**info).write(tmp_path / "bag")
    with pytest.raises(DataError, match="none of 4 images can be kept") as error:
        convert(bag, tmp_path / "out")
    assert reason in str(error.value)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_depth_in_the_wrong_unit_is_refused(tmp_path, robot):
    robot.add_tf().add_images().add_info()
    for stamp, pose in zip(robot.stamps, robot.poses(), strict=True):
        robot.add(DEPTH, stamp, image(stamp, robot.scene.render(pose)[1] * 1000, "32FC1"))
    with pytest.raises(DataError, match="looks like millimetres read as metres"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


def test_an_unregistered_depth_camera_without_a_transform_is_refused(tmp_path, robot):
    robot.add_tf().add_images().add_info()
    for stamp, pose in zip(robot.stamps, robot.poses(), strict=True):
        robot.add(DEPTH, stamp, image(stamp, robot.scene.render(pose)[1], "32FC1", "depth_optical"))
    with pytest.raises(DataError, match="no transform connects 'optical' and 'depth_optical'"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("add_tf add_depth add_info", "no topic with colour images; choose one with --image-topic"),
        ("add_tf add_images add_info", "no topic with depth images; choose one with --depth-topic"),
        ("add_tf add_images add_depth", "no topic with camera_info; choose one with --camera-info-topic"),
        (
            "add_images add_depth add_info",
            "no moving transform from 'optical' to the camera frame 'optical', and no odom",
        ),
    ],
)
def test_what_a_recording_lacks_is_said(tmp_path, robot, parts, message):
    for part in parts.split():
        getattr(robot, part)()
    with pytest.raises(DataError) as error:
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert message in str(error.value)


def test_static_transforms_alone_are_not_a_trajectory(tmp_path, robot):
    robot.add_images().add_depth().add_info()
    robot.add("/tf_static", START, tf(transform(START, "base_link", "optical", OPTICAL)))
    with pytest.raises(DataError, match="no moving transform from 'base_link' to the camera frame"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


def test_ambiguous_topics_are_listed(tmp_path, robot):
    bag = usual(robot).add_images("/front/image_raw").write(tmp_path / "bag")
    with pytest.raises(
        DataError, match=r"several topics could be colour images: \['/camera/color.*', '/front/image_raw'\]"
    ):
        convert(bag, tmp_path / "out")
    convert(bag, tmp_path / "out", BagOptions(topics=Topics(image=IMAGE)))
    check(robot, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": Topics(image="/nowhere")}, "no messages on /nowhere; topics:"),
        ({"topics": Topics(image=INFO)}, "is sensor_msgs/msg/CameraInfo, colour images is one of"),
        ({"topics": Topics(odometry="/tf")}, "is tf2_msgs/msg/TFMessage, odometry is one of"),
        ({"world_frame": "mars"}, "no frame 'mars' in TF; frames known: ['base_link', 'odom', 'optical']"),
        ({"camera_frame": "gripper"}, "no moving transform from 'gripper' to the camera frame 'gripper'"),
    ],
)
def test_bad_choices_are_refused(tmp_path, robot, options, message):
    bag = usual(robot).write(tmp_path / "bag")
    with pytest.raises(DataError) as error:
        convert(bag, tmp_path / "out", BagOptions(**options))
    assert message in str(error.value)


def test_a_frame_with_two_parents_is_an_error(tmp_path, robot):
    usual(robot).add("/tf", START, tf(transform(START, "map", "base_link", np.eye(4))))
    with pytest.raises(DataError, match="frame 'base_link' has two parents"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gap_s": -1.0}, "max_gap_s must be at least 0"),
        ({"min_translation_m": float("nan")}, "min_translation_m must be at least 0"),
        ({"max_frames": 0}, "max_frames must be at least 1"),
        ({"image_format": "gif"}, "image_format must be png or jpg"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        BagOptions(**options)


def test_the_command(tmp_path, robot, capsys):
    bag = usual(robot).write(tmp_path / "bag")
    out = tmp_path / "out"
    arguments = [str(bag), str(out), "--image-topic", IMAGE, "--min-translation", "0.2", "--min-rotation", "90"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "too little motion" in printed
    assert f"{IMAGE} with {DEPTH}; optical in odom from TF" in printed
    assert main(arguments) == 1
    assert "exists: choose another name, or pass --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--image-format", "jpg"]) == 0
    assert main([str(tmp_path / "absent"), str(tmp_path / "other")]) == 1
    assert "no such bag" in capsys.readouterr().err
    for name in ("broken.mcap", "broken.db3", "notes.txt"):
        (tmp_path / name).write_bytes(b"not a bag")
        assert main([str(tmp_path / name), str(tmp_path / "other")]) == 1
        assert f"{name}: not a readable bag" in capsys.readouterr().err


def test_help_and_missing_rosbags(tmp_path, monkeypatch, capsys):
    command = [sys.executable, "-m", "dvlt_ros.training.bag_to_dataset", "--help"]
    assert "--odom-topic" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "reading bags needs rosbags: pip install 'rosbags>=0.11,<0.12'" in capsys.readouterr().err


def test_a_camera_that_changes_on_the_way(tmp_path, robot):
    robot.add_tf().add_images().add_depth()
    for i, stamp in enumerate(robot.stamps):
        size = robot.scene.size if i < 2 else (30, 40)
        robot.add(INFO, stamp - 1000, camera_info(stamp - 1000, robot.scene.intrinsics, size))
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert report.refused == {"unreadable image or depth": 2}
    check(robot, tmp_path / "out", slice(2))


def test_a_camera_without_frame_id_must_be_named(tmp_path, robot):
    usual(robot)
    for topic, _, content in robot.records:
        if topic == IMAGE:
            content.header.frame_id = ""
    bag = robot.write(tmp_path / "bag")
    with pytest.raises(DataError, match="has no frame_id: pass --camera-frame"):
        convert(bag, tmp_path / "out")
    convert(bag, tmp_path / "out", BagOptions(camera_frame="optical"))
    check(robot, tmp_path / "out")


def test_odometry_that_does_not_say_what_moves(tmp_path, robot):
    robot.add_images().add_depth().add_info()
    robot.add("/odom", START, odometry(START, robot.base(START), child=""))
    with pytest.raises(DataError, match="/odom has no frame_id or no child_frame_id: 'odom', ''"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


@pytest.mark.parametrize(
    ("encoding", "pixels"), [("yuv422", np.zeros((60, 160), np.uint8)), ("rgb8", np.zeros((0, 0, 3), np.uint8))]
)
def test_images_that_cannot_be_read(tmp_path, robot, encoding, pixels):
    usual(robot)
    robot.records[:] = [
        (topic, stamp, image(stamp, pixels, encoding))
        if topic == IMAGE and stamp == robot.stamps[1]
        else (topic, stamp, content)
        for topic, stamp, content in robot.records
    ]
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert report.refused == {"unreadable image or depth": 1}
    check(robot, tmp_path / "out", [0, 2, 3])
