"""Images as ROS messages."""

from __future__ import annotations

import numpy as np
from cv_bridge import CvBridge
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

BRIDGE = CvBridge()


def header(frame_id: str, stamp_ns: int) -> Header:
    return Header(frame_id=frame_id, stamp=Time(nanoseconds=stamp_ns).to_msg())


def image_message(image: np.ndarray, encoding: str, head: Header) -> Image:
    """(H, W) float32 as 32FC1 or (H, W, 3) uint8 as rgb8."""
    return BRIDGE.cv2_to_imgmsg(image, encoding, head)
