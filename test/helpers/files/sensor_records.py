"""Measured depth and IMU messages as rosbags has them."""

from __future__ import annotations

from typing import Any

import bags
import numpy as np
from bags import STORE, Record
from room import INTRINSICS, SIZE

from dvlt_ros.mapping.sensors.gravity import STANDARD_GRAVITY


def depth_records(topic: str, stamp_ns: int, depth_m: np.ndarray, encoding: str = "16UC1") -> list[Record]:
    """A depth image (H, W) of the camera `INTRINSICS`, with its camera_info."""
    stored = (1000 * depth_m).round().astype(np.uint16) if encoding == "16UC1" else depth_m.astype(np.float32)
    return [info_record(topic, stamp_ns), (topic, bags.image(stamp_ns, stored, encoding))]


def info_record(image_topic: str, stamp_ns: int) -> Record:
    """The camera `INTRINSICS`, beside its images."""
    k = INTRINSICS.copy()
    k[:2, 2] -= 0.5
    p = np.hstack([k, np.zeros((3, 1))])
    return f"{image_topic.rpartition('/')[0]}/camera_info", bags.camera_info(stamp_ns, SIZE, k=k.ravel(), p=p.ravel())


def cloud_record(topic: str, stamp_ns: int, points: np.ndarray, frame_id: str) -> Record:
    """Points (N, 3), after a field of another kind and in rows with padding."""
    record = np.dtype({"names": ["id", "x", "y", "z"], "formats": ["u2", "f4", "f4", "f8"], "offsets": [0, 4, 8, 16]})
    stored = np.zeros((2, len(points) // 2), record)
    for axis, values in zip("xyz", points[: stored.size].T, strict=True):
        stored[axis] = values.reshape(stored.shape)
    rows = np.hstack([stored.view(np.uint8).reshape(2, -1), np.zeros((2, 5), np.uint8)])
    field = STORE.types["sensor_msgs/msg/PointField"]
    kinds = {"id": 4, "x": 7, "y": 7, "z": 8}
    fields = [field(name, record.fields[name][1], kind, 1) for name, kind in kinds.items()]
    return topic, STORE.types["sensor_msgs/msg/PointCloud2"](
        header=bags.header(stamp_ns, frame_id), height=2, width=stored.shape[1], fields=fields, is_bigendian=False,
        point_step=record.itemsize, row_step=rows.shape[1], data=rows.ravel(), is_dense=True,
    )  # fmt: skip


def imu_record(topic: str, stamp_ns: int, up_imu: np.ndarray, frame_id: str) -> Record:
    """Of an IMU that does not turn and has no orientation."""
    none = np.array([-1.0, *[0.0] * 8])
    return topic, STORE.types["sensor_msgs/msg/Imu"](
        header=bags.header(stamp_ns, frame_id),
        orientation=STORE.types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=none, angular_velocity=_vector(np.zeros(3)), angular_velocity_covariance=none,
        linear_acceleration=_vector(STANDARD_GRAVITY * up_imu), linear_acceleration_covariance=np.zeros(9),
    )  # fmt: skip


def _vector(values: np.ndarray) -> Any:
    x, y, z = values.tolist()
    return STORE.types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)
