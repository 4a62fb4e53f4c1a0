"""Measured depth as messages: images, clouds and scans of a corridor."""

from __future__ import annotations

import numpy as np
from rclpy.time import Time
from room import FRAME_NS, SIZE, pose
from sensor_msgs.msg import Image
from std_msgs.msg import Header

CAM_FROM_SENSOR = pose((0.2, -0.3, 0.05), 0.1, 0.1)


def head(number, frame_id="sensor", late_ns=0):
    return Header(stamp=Time(nanoseconds=number * FRAME_NS + late_ns).to_msg(), frame_id=frame_id)


def depth_image(depth_m, header, encoding="16UC1", factor=1.0):
    """``factor`` beyond 1 is a driver with the wrong unit."""
    values = depth_m * 1000 if encoding == "16UC1" else depth_m
    data = (values * factor).astype({"16UC1": np.uint16, "32FC1": np.float32}.get(encoding, np.uint16))
    message = Image(header=header, height=SIZE[0], width=SIZE[1], encoding=encoding, step=SIZE[1] * data.itemsize)
    message.data.frombytes(data.tobytes())
    return message
