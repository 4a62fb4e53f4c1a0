"""A robot whose recording shows the box."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.training.data.readers.layouts import open_dataset

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


def usual(robot: Robot) -> Robot:
    return robot.add_tf().add_images().add_depth().add_info()


def check(robot: Robot, out: Path, kept: list[int] | slice = slice(None)) -> None:
    (sequence,) = open_dataset(out)
    robot.scene.check(sequence, robot.poses()[kept])
