"""ROS image messages as arrays, whoever has decoded them: rosbags or rclpy. Needs neither.

`cv_bridge` of the distributions is not used for this: its Python part takes the width of a row from ``step``, which
shears rows with padding, and it does not convert 16-bit compressed images.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import Any

import cv2
import numpy as np

from ..errors import DataError
from .encodings import DEPTH_ENCODINGS, ENCODINGS, Encoding, planes_of_444
from .files import decode_pixels, decode_stored
from .grey_levels import GreyLevels
from .headers import MAX_PIXELS

COMPRESSED = "compressed"  # beside the names of encodings
COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, two quantisation parameters


class ImageDecoder:
    """Of one stream, of which it remembers for each encoding how many bits are used: 10, 12, 14 or 16 in 16."""

    def __init__(self) -> None:
        self._levels: defaultdict[str, GreyLevels] = defaultdict(GreyLevels)

    def colour(self, message: Any) -> np.ndarray:
        """sensor_msgs Image or CompressedImage as (H, W, 3) uint8, RGB.

        Raises:
            DataError: an unreadable or truncated image, or an encoding without colour or grey values.
        """
        if hasattr(message, "encoding"):
            return self._raw(message)
        try:
            if "compresseddepth" in message.format.lower():
                raise DataError("it is a depth image")
            return self._levels[COMPRESSED].to_uint8(decode_pixels(bytes_of(message)))
        except DataError as error:
            raise DataError(f"unreadable image: {message.format!r} data: {error}") from error

    def _raw(self, message: Any) -> np.ndarray:
        encoding = ENCODINGS.get(message.encoding)
        if encoding is None:
            raise DataError(f"unreadable image: encoding {message.encoding[:40]!r} is not read")
        rows = _stored_rows(message, encoding)
        try:
            return self._converted(self._levels[message.encoding].to_uint8(rows), message.encoding, encoding)
        except cv2.error as error:  # packed colours of an odd width
            size = f"{message.width} x {message.height}"
            raise DataError(f"unreadable image: {message.encoding} of {size} pixels: {error.err}") from error

    @staticmethod
    def _converted(rows: np.ndarray, name: str, encoding: Encoding) -> np.ndarray:
        if encoding.layout == "YUV 4:4:4":
            return planes_of_444(rows, name)
        return rows if encoding.conversion is None else cv2.cvtColor(rows, encoding.conversion)


def colour_image(message: Any) -> np.ndarray:
    """One message by itself, as `ImageDecoder.colour`; the messages of a stream should share a decoder."""
    return ImageDecoder().colour(message)


def depth_image(message: Any) -> np.ndarray:
    """sensor_msgs Image or CompressedImage as (H, W) float32 metres, 0 where invalid.

    Raises:
        DataError: an unreadable or truncated image, or an encoding that is not depth.
    """
    if not hasattr(message, "encoding"):
        return _finite(_compressed_depth(message))
    if message.encoding not in DEPTH_ENCODINGS:
        raise DataError(f"unreadable depth: encoding {message.encoding!r} is not one of {tuple(DEPTH_ENCODINGS)}")
    stored = pixels(message, np.dtype(DEPTH_ENCODINGS[message.encoding]), 1)
    return _finite(stored if message.encoding == "32FC1" else stored.astype(np.float32) * np.float32(1e-3))


def pixels(message: Any, dtype: np.dtype, channels: int, rows: int | None = None) -> np.ndarray:
    """Rows without their padding: (rows, W) or (rows, W, channels), native byte order; ``rows`` is the height.

    ``step`` is taken where it is at least a row of pixels; the last row may come without its padding.

    Raises:
        DataError: no pixels, more than are read, or fewer bytes than they need.
    """
    height, width, data = int(message.height), int(message.width), bytes_of(message)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DataError(f"unreadable image: size {width} x {height}")
    rows = height if rows is None else rows
    row = width * channels * dtype.itemsize
    step = max(int(message.step), row)
    if len(data) < step * (rows - 1) + row:
        if len(data) != rows * row:
            raise DataError(f"unreadable image: truncated: {len(data)} bytes of {step * rows}")
        step = row  # a step that counts something else, of rows without padding
    strided = np.lib.stride_tricks.as_strided(data, (rows, row), (step, 1), writeable=False)
    order = dtype.newbyteorder(">" if message.is_bigendian else "<")
    stored = np.ascontiguousarray(strided).view(order).astype(dtype.newbyteorder("="), copy=False)
    return stored if channels == 1 else stored.reshape(rows, width, channels)


def bytes_of(message: Any) -> np.ndarray:
    """The data of a message (N,) uint8, without a copy."""
    return np.frombuffer(memoryview(message.data), dtype=np.uint8)


def _stored_rows(message: Any, encoding: Encoding) -> np.ndarray:
    height, width = int(message.height), int(message.width)
    rows = {"YUV 4:2:0": height * 3 // 2, "YUV 4:4:4": height * 3}.get(encoding.layout, height)
    if encoding.layout == "YUV 4:2:0" and (height % 2 or width % 2):
        raise DataError(f"unreadable image: {message.encoding} of {width} x {height} pixels: both must be even")
    return pixels(message, np.dtype(encoding.dtype), encoding.channels, rows)


def _compressed_depth(message: Any) -> np.ndarray:
    data, kind = bytes_of(message), message.format.split(";")[0].strip()
    parameters = (0.0, 0.0)
    if "compresseddepth" in message.format.lower():
        if "rvl" in message.format.lower():
            raise DataError("unreadable depth: RVL compression is not supported; record PNG or raw depth")
        if len(data) < COMPRESSED_DEPTH_HEADER.size:
            raise DataError("unreadable depth: compressedDepth data without its header")
        parameters = COMPRESSED_DEPTH_HEADER.unpack_from(data.tobytes()[: COMPRESSED_DEPTH_HEADER.size])[1:]
        data = data[COMPRESSED_DEPTH_HEADER.size :]
    try:
        stored = decode_stored(data)
    except DataError as error:
        raise DataError(f"unreadable depth: {message.format!r} data is not a 16-bit PNG: {error}") from error
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
