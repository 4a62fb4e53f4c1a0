"""The encodings of sensor_msgs/Image that show something, and how their bytes become RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Layout = Literal["grey", "colour", "Bayer", "YUV 4:2:2", "YUV 4:2:0", "YUV 4:4:4"]


@dataclass(frozen=True)
class Encoding:
    """How rows are stored. ``conversion`` is OpenCV's to RGB; None: they are RGB."""

    layout: Layout
    dtype: str  # NumPy's, without byte order
    channels: int  # that a row has per pixel
    conversion: int | None


# OpenCV names a Bayer pattern by its second row's second and third pixels.
BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
COLOURS = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
}
PACKED = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
ENCODINGS: dict[str, Encoding] = {
    **{
        f"{name}{8 * int(kind[1])}": Encoding("colour", kind, channels, conversion)
        for kind in ("u1", "u2")
        for name, (channels, conversion) in COLOURS.items()
    },
    # Without a meaning of their own; OpenCV's habit is blue first.
    "8UC3": Encoding("colour", "u1", 3, cv2.COLOR_BGR2RGB),
    "8UC4": Encoding("colour", "u1", 4, cv2.COLOR_BGRA2RGB),
    "16UC3": Encoding("colour", "u2", 3, cv2.COLOR_BGR2RGB),
    "mono8": Encoding("grey", "u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": Encoding("grey", "u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": Encoding("grey", "u2", 1, cv2.COLOR_GRAY2RGB),
    **{
        f"bayer_{name}{8 * int(kind[1])}": Encoding("Bayer", kind, 1, conversion)
        for kind in ("u1", "u2")
        for name, conversion in BAYER.items()
    },
    **{name: Encoding("YUV 4:2:2", "u1", 2, conversion) for name, conversion in PACKED.items()},
    "nv12": Encoding("YUV 4:2:0", "u1", 1, cv2.COLOR_YUV2RGB_NV12),
    "nv21": Encoding("YUV 4:2:0", "u1", 1, cv2.COLOR_YUV2RGB_NV21),
    "nv24": Encoding("YUV 4:4:4", "u1", 1, None),
    "nv42": Encoding("YUV 4:4:4", "u1", 1, None),
}
DEPTH_ENCODINGS = {"32FC1": "f4", "16UC1": "u2", "mono16": "u2"}  # metres; millimetres


def planes_of_444(planes: np.ndarray, encoding: str) -> np.ndarray:
    """(H, W, 3) RGB of nv24 or nv42: (3 H, W), brightness first, then rows of colour pairs, two rows' worth each."""
    height, width = planes.shape[0] // 3, planes.shape[1]
    pairs = planes[height:].reshape(height, width, 2)
    red, blue = (pairs[..., 1], pairs[..., 0]) if encoding == "nv24" else (pairs[..., 0], pairs[..., 1])
    luma = (planes[:height].astype(np.float32) - 16) * 1.164383  # BT.601, as OpenCV has it
    r, b = red.astype(np.float32) - 128, blue.astype(np.float32) - 128
    rgb = np.stack([luma + 1.596027 * r, luma - 0.812968 * r - 0.391762 * b, luma + 2.017232 * b], axis=-1)
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)
