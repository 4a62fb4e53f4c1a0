"""Small bags, written with rosbags as a robot would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
Record = tuple[str, Any]  # topic, message with a header


def header(stamp_ns: int, frame_id: str = "cam") -> Any:
    time = STORE.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return STORE.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image(stamp_ns: int, pixels: np.ndarray, encoding: str = "rgb8", frame_id: str = "cam") -> Any:
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    return STORE.types["sensor_msgs/msg/Image"](
        header=header(stamp_ns, frame_id), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=len(data) // height, data=data,
    )  # fmt: skip


def compressed(stamp_ns: int, data: bytes, form: str = "jpeg") -> Any:
    array = np.frombuffer(data, dtype=np.uint8)
    return STORE.types["sensor_msgs/msg/CompressedImage"](header=header(stamp_ns), format=form, data=array)


def camera_info(stamp_ns: int, size: tuple[int, int] = (48, 64), fx: float = 60.0, **fields: Any) -> Any:
    """``size`` is (height, width); ``fields`` replace the message's own, ``roi`` is (x, y, height, width)."""
    x, y, height, width = fields.pop("roi", (0, 0, 0, 0))
    roi = STORE.types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=x, y_offset=y, height=height, width=width, do_rectify=False
    )
    values = {
        "header": header(stamp_ns),
        "height": size[0],
        "width": size[1],
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": np.array([fx, 0, 31.5, 0, fx, 23.5, 0, 0, 1]),
        "r": np.eye(3).ravel(),
        "p": np.array([fx, 0, 31.5, 0, 0, fx, 23.5, 0, 0, 0, 1, 0.0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": roi,
    }
    return STORE.types["sensor_msgs/msg/CameraInfo"](**values | fields)


def write(path: Path, records: list[Record], plugin: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """Recorded in the given order, one every millisecond, whatever the stamps say."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for index, (topic, message) in enumerate(records):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], 10**18 + index * 10**6, STORE.serialize_cdr(message, kind))
    return path
