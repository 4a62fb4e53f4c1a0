"""Compressed depth as image_transport reads it."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")


from dvlt_ros.imaging.decoder import depth_image
from dvlt_ros.mapping.data.frames import Picture, Reconstruction
from dvlt_ros.model import prepare_images
from dvlt_ros.ros import messages

STAMP_NS = 1_234_567_890_123_456_789
CAMERA = np.array([[70.0, 0.0, 60.0], [0.0, 72.0, 50.0], [0.0, 0.0, 1.0]])
PICTURE_SIZE = (96, 128)


def reconstruction(image_size=56, seed=0) -> Reconstruction:
    """Two slanted walls, a tenth of the pixels not trusted."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (*PICTURE_SIZE, 3), dtype=np.uint8)
    mapping = prepare_images([image], image_size).mappings[0]
    height, width = mapping.network_size
    depth = 2 + np.linspace(0, 1, width)[None] + np.linspace(0, 0.5, height)[:, None]
    depth[:, width // 2 :] += 3
    depth[rng.random(depth.shape) < 0.1] = np.nan
    intrinsics = mapping.intrinsics_to_network(torch.from_numpy(CAMERA)).numpy()
    confidence = rng.uniform(1, 9, depth.shape).astype(np.float32)
    picture = Picture(image, CAMERA)
    return Reconstruction(
        STAMP_NS, "cam", 0, 0, picture, depth.astype(np.float32), confidence, intrinsics, np.eye(4), mapping
    )


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
