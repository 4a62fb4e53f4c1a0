"""Sixteen-bit values as eight bits, by the range that the sensor really uses."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import DataError

SENSOR_BITS = (10, 12, 14, 16)  # what cameras deliver in 16 bits


class GreyLevels:
    """Of one stream: the range grows with what is seen and never shrinks, so that brightness does not flicker.

    One for each stream; not for several threads at once.
    """

    def __init__(self) -> None:
        self.bits = 0  # 0: nothing seen yet

    def to_uint8(self, values: np.ndarray) -> np.ndarray:
        """uint8 of the same shape, from uint8 (unchanged), uint16, or float32 from 0 to 1.

        Raises:
            DataError: another type, or float values beyond 0 to 1; it says which.
        """
        if values.dtype == np.uint8:
            return values
        if values.dtype == np.uint16:
            top = int(values.max(initial=0))
            self.bits = max(self.bits, next(bits for bits in SENSOR_BITS if top < 1 << bits))
            scaled = cv2.convertScaleAbs(values, alpha=255 / ((1 << self.bits) - 1))
            return scaled.reshape(values.shape)
        if values.dtype in (np.float32, np.float64):
            low, high = float(values.min(initial=0)), float(values.max(initial=0))
            if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN too
                raise DataError(f"its values are from {low:.4g} to {high:.4g}: of floating-point images 0 to 1 is read")
            return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
        raise DataError(f"its values are {values.dtype}; uint8, uint16 and floating point are read")
