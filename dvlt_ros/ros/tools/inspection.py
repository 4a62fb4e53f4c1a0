"""Checks of one frame's messages against the node's contract, each with a sentence if it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from ...mapping.outputs.rendering import POINT

DEPTH_TOLERANCE = 1e-4  # relative; float32 through a projection


@dataclass(frozen=True)
class FrameMessages:
    """All messages of one frame."""

    depth: Image
    camera_info: CameraInfo
    rgb: Image
    confidence: Image
    points: PointCloud2


def image_array(message: Image) -> np.ndarray:
    """(H, W) float32 of 32FC1, (H, W, 3) uint8 of rgb8; shares the message's memory."""
    if message.encoding == "rgb8":
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    return np.frombuffer(message.data, "<f4").reshape(message.height, message.width)


def cloud_array(message: PointCloud2) -> np.ndarray:
    """`POINT` records (N,), sharing the message's memory."""
    return np.frombuffer(message.data, POINT)


def violations(frame: FrameMessages, stride: int = 1) -> Iterator[str]:
    """Faults of one frame's messages; the points are unorganized, with the given stride."""
    images = {"depth": frame.depth, "rgb": frame.rgb, "confidence": frame.confidence}
    for name, encoding in (("depth", "32FC1"), ("rgb", "rgb8"), ("confidence", "32FC1")):
        if images[name].encoding != encoding:
            yield f"{name} is {images[name].encoding}, not {encoding}"
            return
    everything = {**images, "camera_info": frame.camera_info, "points": frame.points}
    if len({message.header.frame_id for message in everything.values()}) > 1:
        yield "the messages of one frame have several frame_ids"
    if len({(message.height, message.width) for message in (*images.values(), frame.camera_info)}) > 1:
        yield "images and camera_info have several sizes"
        return
    depth, confidence = image_array(frame.depth), image_array(frame.confidence)
    if np.isinf(depth).any() or (depth <= 0).any():
        yield "depth that is infinite, zero or negative"
    if not np.isfinite(confidence).all() or (confidence < 1).any():
        yield "confidence that is below 1 or not finite"
    if any(frame.camera_info.d) or frame.camera_info.k[0] <= 0:
        yield "depth/camera_info is not an undistorted pinhole camera"
    yield from point_violations(cloud_array(frame.points), depth, np.array(frame.camera_info.k), stride)


def point_violations(cloud: np.ndarray, depth: np.ndarray, k: np.ndarray, stride: int) -> Iterator[str]:
    """Points (N,) against the depth image (H, W) through its camera."""
    expected = int(np.isfinite(depth[stride // 2 :: stride, stride // 2 :: stride]).sum())
    if len(cloud) != expected:
        yield f"{len(cloud)} points, but {expected} pixels with depth"
    if not all(np.isfinite(cloud[axis]).all() for axis in "xyz"):
        yield "points that are not finite"
        return
    columns = np.rint(cloud["x"] / cloud["z"] * k[0] + k[2]).astype(int)
    rows = np.rint(cloud["y"] / cloud["z"] * k[4] + k[5]).astype(int)
    inside = (columns >= 0) & (columns < depth.shape[1]) & (rows >= 0) & (rows < depth.shape[0])
    if not inside.all():
        yield "points outside of the image"
    seen = depth[rows[inside], columns[inside]]
    if not np.allclose(cloud["z"][inside], seen, rtol=DEPTH_TOLERANCE):
        yield "points that are not where the depth image has them"
