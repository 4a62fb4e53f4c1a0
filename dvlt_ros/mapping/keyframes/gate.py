"""Which frames of a stream are worth a place in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .config import KeyframeConfig

THUMBNAIL = (32, 24)  # width, height
MIN_CONTRAST = 0.01  # standard deviation of grey values, 0 to 1, beside light that changes smoothly over the image


def _smooth_basis() -> np.ndarray:
    """(768, 6) orthonormal: all thumbnails whose grey values are of second order in x and y."""
    y, x = np.mgrid[-1 : 1 : THUMBNAIL[1] * 1j, -1 : 1 : THUMBNAIL[0] * 1j].reshape(2, -1)
    return np.linalg.qr(np.stack([x**0, x, y, x * x, x * y, y * y], axis=-1))[0].astype(np.float32)


SMOOTH = _smooth_basis()


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A few grey values that stand for an image."""

    grey: np.ndarray  # (24, 32) float32 in [0, 1]

    @classmethod
    def of(cls, image: np.ndarray) -> Thumbnail:
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
        return cls(small.astype(np.float32).mean(axis=-1) / 255)

    @property
    def is_blank(self) -> bool:
        """Nothing but smooth light: a covered lens, through which some of it may leak, or a white wall close by."""
        grey = self.grey.ravel()
        return float((grey - SMOOTH @ (SMOOTH.T @ grey)).std()) < MIN_CONTRAST

    def change(self, other: Thumbnail) -> float:
        """Mean absolute difference, 0 to 1."""
        return float(np.abs(self.grey - other.grey).mean())


class KeyframeGate:
    """Lets a frame set pass when enough time has gone by and an image has changed, or after a heartbeat."""

    def __init__(self) -> None:
        self._last: tuple[int, Mapping[str, Thumbnail]] | None = None

    def passes(self, stamp_ns: int, thumbnails: Mapping[str, Thumbnail], config: KeyframeConfig) -> bool:
        """Whether these images, by camera, are keyframes; if so the next ones are compared with them."""
        if self._last is not None:
            elapsed_s, before = (stamp_ns - self._last[0]) * 1e-9, self._last[1]
            changes = [shown.change(before[camera]) for camera, shown in thumbnails.items() if camera in before]
            is_due = elapsed_s >= config.heartbeat_s or len(changes) < len(thumbnails)
            has_changed = is_due or max(changes) >= config.min_change
            if elapsed_s < config.min_interval_s or not has_changed:
                return False
        self._last = stamp_ns, thumbnails
        return True
