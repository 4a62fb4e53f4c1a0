"""Compressed depth as image_transport reads it."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")


from slanted_walls import STAMP_NS, reconstruction

from dvlt_ros.imaging.decoder import depth_image
from dvlt_ros.ros import messages


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_compressed_depth_is_what_image_transport_reads(unit):
    """By the layout that its plugin documents in code, twelve bytes and a PNG; and by our own reader of bags."""
    depth = np.float32(unit) * reconstruction().depth
    message = messages.compressed_depth_message(depth, messages.header("cam", STAMP_NS))
    assert message.format == "32FC1; compressedDepth png"
    data = bytes(message.data)
    kind, a, b = struct.unpack("<iff", data[:12])
    assert kind == 0
    stored = cv2.imdecode(np.frombuffer(data[12:], np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored == 0, np.isnan(depth))
    known = stored > 0
    np.testing.assert_allclose(a / (stored[known] - b), depth[known], rtol=2e-4)
    np.testing.assert_allclose(depth_image(message)[known], depth[known], rtol=2e-4)


def test_compressed_depth_of_a_wall_or_of_nothing():
    head = messages.header("cam", STAMP_NS)
    wall = np.full((8, 9), 2.5, np.float32)
    np.testing.assert_allclose(depth_image(messages.compressed_depth_message(wall, head)), wall, rtol=1e-3)
    assert not depth_image(messages.compressed_depth_message(np.full_like(wall, np.nan), head)).any()
