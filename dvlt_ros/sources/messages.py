"""Headers of ROS messages, and what a topic's first image says it is."""

from __future__ import annotations

import struct
from typing import Any

from ..errors import DataError
from ..imaging.decoder import colour_image, depth_image
from ..imaging.encodings import DEPTH_ENCODINGS, ENCODINGS

__all__ = ["colour_image", "depth_image", "header_stamp_ns", "is_colour", "is_depth", "stamp_ns_of"]

SURELY, PERHAPS = 2, 1  # how well a message fits


def header_stamp_ns(cdr: bytes | memoryview) -> int:
    """Stamp of a serialised message that starts with a std_msgs/Header, without decoding the rest.

    Raises:
        DataError: too short to hold one.
    """
    if len(cdr) < 12:
        raise DataError(f"a message of {len(cdr)} bytes has no header")
    seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return seconds * 10**9 + nanoseconds


UNSET = "its stamp is zero; the driver must set it"  # of a message: ROS has no other sign of a stamp that is not set


def stamp_ns_of(header: Any) -> int:
    """Of a decoded std_msgs/Header."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def is_colour(message: Any) -> int:
    """How well an Image or CompressedImage fits as one of colours or grey values: mono16 may be depth, too.

    Raises:
        DataError: an encoding that is not read at all.
    """
    if _is_surely_depth(message):
        return 0
    if not hasattr(message, "encoding"):
        return SURELY
    if message.encoding not in ENCODINGS:
        raise DataError(f"encoding {message.encoding[:40]!r} is not read")
    return PERHAPS if message.encoding in DEPTH_ENCODINGS else SURELY


def is_depth(message: Any) -> int:
    """How well an Image or CompressedImage fits as a depth image, from its encoding alone."""
    if _is_surely_depth(message):
        return SURELY
    return PERHAPS if getattr(message, "encoding", "") in DEPTH_ENCODINGS else 0


def _is_surely_depth(message: Any) -> bool:
    if hasattr(message, "encoding"):
        return message.encoding in DEPTH_ENCODINGS and message.encoding not in ENCODINGS
    return "compresseddepth" in message.format.lower() or message.format.split(";")[0].strip() in ("16UC1", "32FC1")
