"""Masks beside images: what is no part of the map. Whatever is not 0 is masked, as segmentation networks write it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..errors import DataError
from ..lens import Lens, rectification
from .decoder import colour_image

ENCODINGS = ("mono8", "8UC1")
SAME_NS = 2_000_000  # stamps that differ by less are one: some nodes copy them through floating point


def mask_of_message(message: Any, size: tuple[int, int], lens: Lens | None) -> np.ndarray:
    """`mask_for` of a `sensor_msgs/Image`. Raises DataError: another encoding or size."""
    if message.encoding not in ENCODINGS:
        raise DataError(f"its mask is encoded as '{message.encoding}', what is read is {' or '.join(ENCODINGS)}")
    return mask_for(colour_image(message), size, lens)


def mask_for(mask: np.ndarray, size: tuple[int, int], lens: Lens | None) -> np.ndarray:
    """(H, W) bool of an undistorted image, True where it is masked.

    Args:
        mask: (H, W) or (H, W, 3) numbers, pixels of the image as the camera gave it; anything but 0 is masked.
        size: (height, width) of that image.
        lens: of that image, where it is known.

    Raises:
        DataError: the mask is of another size.
    """
    if mask.shape[:2] != size:
        (height, width), (own_height, own_width) = size, mask.shape[:2]
        raise DataError(f"its mask is {own_width} x {own_height} pixels, the image {width} x {height}")
    masked = (mask.reshape(*size, -1) != 0).any(axis=-1)
    if lens is None or not lens.is_distorted:
        return masked
    pinhole = rectification(lens)
    rectified: np.ndarray = cv2.remap(
        masked.astype(np.uint8), np.round(pinhole.columns), np.round(pinhole.rows), cv2.INTER_NEAREST
    )
    return rectified > 0
