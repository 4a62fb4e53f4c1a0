"""ROS messages, as rosbags decodes them, as arrays. Needs neither ROS nor rosbags."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from ..errors import DataError

COLOUR_ENCODINGS = {  # channels, and OpenCV's conversion to RGB
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern by its second row's second and third pixels.
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
DEPTH_ENCODINGS = {"32FC1": "f4", "16UC1": "u2", "mono16": "u2"}  # metres; millimetres
COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, two quantisation parameters


def header_stamp_ns(cdr: bytes | memoryview) -> int:
    """Stamp of a serialised message that starts with a std_msgs/Header, without decoding the rest.

    Raises:
        DataError: too short to hold one.
    """
    if len(cdr) < 12:
        raise DataError(f"a message of {len(cdr)} bytes has no header")
    seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return seconds * 10**9 + nanoseconds


def stamp_ns_of(header: Any) -> int:
    """Of a decoded std_msgs/Header."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def colour_image(message: Any) -> np.ndarray:
    """sensor_msgs Image or CompressedImage as (H, W, 3) uint8, RGB.

    Raises:
        DataError: an unreadable or truncated image, or an encoding without colour or grey values.
    """
    if not hasattr(message, "encoding"):
        try:
            return decode_image(_bytes(message), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except DataError as error:
            raise DataError(f"unreadable image: {message.format!r} data: {error}") from error
    if message.encoding not in COLOUR_ENCODINGS:
        raise DataError(f"unreadable image: encoding {message.encoding!r} is not one of {tuple(COLOUR_ENCODINGS)}")
    channels, conversion = COLOUR_ENCODINGS[message.encoding]
    image = _pixels(message, np.dtype("u1"), channels)
    try:
        return image if conversion is None else cv2.cvtColor(image, conversion)
    except cv2.error as error:  # packed colours of an odd width
        size = f"{message.width} x {message.height}"
        raise DataError(f"unreadable image: {message.encoding} of {size} pixels: {error.err}") from error


def decode_image(data: np.ndarray, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """The bytes of an image file as (H, W, 3) uint8, RGB.

    From a file's bytes, for of a file itself OpenCV makes a grey rest where a JPEG is truncated.

    Raises:
        DataError: no image, or a truncated one.
    """
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise DataError(f"{len(data)} bytes that are no image, or only a part of one")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def depth_image(message: Any) -> np.ndarray:
    """sensor_msgs Image or CompressedImage as (H, W) float32 metres, 0 where invalid.

    Raises:
        DataError: an unreadable or truncated image, or an encoding that is not depth.
    """
    if not hasattr(message, "encoding"):
        return _finite(_compressed_depth(message))
    if message.encoding not in DEPTH_ENCODINGS:
        raise DataError(f"unreadable depth: encoding {message.encoding!r} is not one of {tuple(DEPTH_ENCODINGS)}")
    order = ">" if message.is_bigendian else "<"
    stored = _pixels(message, np.dtype(order + DEPTH_ENCODINGS[message.encoding]), 1)
    return _finite(stored if message.encoding == "32FC1" else stored.astype(np.float32) * np.float32(1e-3))


def is_depth(message: Any) -> bool:
    """Whether an Image or CompressedImage is a depth image, from its encoding alone."""
    if hasattr(message, "encoding"):
        return message.encoding in DEPTH_ENCODINGS
    return "compresseddepth" in message.format.lower() or message.format.split(";")[0].strip() in (
        "16UC1",
        "32FC1",
    )


def is_colour(message: Any) -> bool:
    """Whether an Image or CompressedImage shows colours or grey values."""
    return not is_depth(message) and (not hasattr(message, "encoding") or message.encoding in COLOUR_ENCODINGS)


def _pixels(message: Any, dtype: np.dtype, channels: int) -> np.ndarray:
    """Rows without their padding: (H, W) or (H, W, channels), native byte order."""
    height, width, data = int(message.height), int(message.width), _bytes(message)
    row = width * channels * dtype.itemsize
    if not height or not width:
        raise DataError(f"unreadable image: size {width} x {height}")
    step = max(int(message.step), row)
    if len(data) < step * (height - 1) + row:
        raise DataError(f"unreadable image: truncated, {len(data)} bytes of {step * height}")
    padded = np.zeros(step * height, dtype=np.uint8)
    padded[: min(len(data), len(padded))] = data[: len(padded)]
    pixels = np.ascontiguousarray(padded.reshape(height, step)[:, :row]).view(dtype)
    pixels = pixels.astype(dtype.newbyteorder("="))
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def _compressed_depth(message: Any) -> np.ndarray:
    data, kind = _bytes(message), message.format.split(";")[0].strip()
    parameters = (0.0, 0.0)
    if "compresseddepth" in message.format.lower():
        if "rvl" in message.format.lower():
            raise DataError("unreadable depth: RVL compression is not supported; record PNG or raw depth")
        if len(data) < COMPRESSED_DEPTH_HEADER.size:
            raise DataError("unreadable depth: compressedDepth data without its header")
        parameters = COMPRESSED_DEPTH_HEADER.unpack_from(data.tobytes()[: COMPRESSED_DEPTH_HEADER.size])[1:]
        data = data[COMPRESSED_DEPTH_HEADER.size :]
    stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
        raise DataError(f"unreadable depth: {message.format!r} data is not a 16-bit PNG of one channel")
    values = stored.astype(np.float32)
    if kind != "32FC1":
        return values * np.float32(1e-3)
    quantum, offset = parameters  # of inverse depth: stored = quantum / metres + offset
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(stored > 0, quantum / (values - offset), 0).astype(np.float32)


def _finite(depth: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def _bytes(message: Any) -> np.ndarray:
    return np.frombuffer(memoryview(message.data), dtype=np.uint8)
