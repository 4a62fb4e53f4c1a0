"""Image encodings: what their bytes are, and OpenCV's way from one to another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class CvBridgeError(TypeError):
    """An image cannot be read or converted."""


@dataclass(frozen=True)
class Encoding:
    name: str
    dtype: np.dtype[Any]  # native byte order
    channels: int
    colour: str | None  # OpenCV's name of the layout; None: numbers without a meaning

    @property
    def cv_type(self) -> str:
        return f"{self.dtype.itemsize * 8}{DEPTH_LETTERS[self.dtype.kind]}C{self.channels}"


DEPTH_LETTERS = {"u": "U", "i": "S", "f": "F"}
DEPTHS = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
CHANNELS = {"GRAY": 1, "RGB": 3, "BGR": 3, "RGBA": 4, "BGRA": 4}
PACKED = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUY2", "yuyv": "YUY2"}
# OpenCV names a Bayer pattern by its second row's second and third pixels.
BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}


def parse_encoding(name: str) -> Encoding:
    if match := re.fullmatch(r"(rgb|bgr|rgba|bgra|mono)(8|16)", name):
        colour = {"mono": "GRAY"}.get(match[1], match[1].upper())
        return Encoding(name, np.dtype(f"u{int(match[2]) // 8}"), CHANNELS[colour], colour)
    if match := re.fullmatch(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)", name):
        return Encoding(name, np.dtype(f"u{int(match[2]) // 8}"), 1, BAYER[match[1]])
    if name in PACKED:
        return Encoding(name, np.dtype(np.uint8), 2, PACKED[name])
    if match := re.fullmatch(r"(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?", name):
        return Encoding(name, np.dtype(DEPTHS[match[1]]), int(match[2] or 1), None)
    raise CvBridgeError(f"Unrecognized image encoding [{name}]")


def convert(image: Array, source: Encoding, target: Encoding) -> Array:
    """Colours first, then depth, where 8 and 16 bit images both span their range."""
    if source.name == target.name:
        return image
    if source.colour is None and target.colour is not None:
        raise CvBridgeError(
            f"[{source.name}] is not a color format. but [{target.name}] is. The conversion does not make sense"
        )
    if source.colour is None or target.colour is None:
        if source.channels != target.channels:
            raise CvBridgeError(f"[{source.name}] and [{target.name}] do not have the same number of channel")
        return convert_depth(image, target.dtype)
    if source.colour != target.colour:
        image = cv2.cvtColor(image, colour_code(source, target))
    return convert_depth(image, target.dtype)


def colour_code(source: Encoding, target: Encoding) -> int:
    name = f"COLOR_{source.colour}2{target.colour}"
    if source.colour in PACKED.values():
        name = f"COLOR_YUV2{target.colour}_{source.colour}"
    is_bayer_with_alpha = source.colour in BAYER.values() and target.channels == 4
    if target.colour not in CHANNELS or is_bayer_with_alpha or not hasattr(cv2, name):
        raise CvBridgeError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    return int(getattr(cv2, name))


def convert_depth(image: Array, dtype: np.dtype[Any]) -> Array:
    if image.dtype == dtype:
        return image
    if (image.dtype.name, dtype.name) == ("uint16", "uint8"):
        return cv2.convertScaleAbs(image, alpha=255 / 65535).reshape(image.shape)
    if (image.dtype.name, dtype.name) == ("uint8", "uint16"):
        return image.astype(np.uint16) * np.uint16(257)
    if dtype.kind == "f":
        return image.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(image.astype(np.float64)), limits.min, limits.max).astype(dtype)
