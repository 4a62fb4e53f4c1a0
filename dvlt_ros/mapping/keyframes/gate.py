"""Selects keyframes: frames that differ enough from the keyframe before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .config import KeyframeConfig

THUMBNAIL = (32, 24)  # width, height
MIN_CONTRAST = 0.01  # standard deviation of grey values, 0 to 1, after a smooth brightness is subtracted


def _smooth_basis() -> np.ndarray:
    """(768, 6) orthonormal basis of thumbnails whose grey values are quadratic in x and y."""
    y, x = np.mgrid[-1 : 1 : THUMBNAIL[1] * 1j, -1 : 1 : THUMBNAIL[0] * 1j].reshape(2, -1)
    return np.linalg.qr(np.stack([x**0, x, y, x * x, x * y, y * y], axis=-1))[0].astype(np.float32)


SMOOTH = _smooth_basis()


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """An image reduced to a few grey values."""

    grey: np.ndarray  # (24, 32) float32 in [0, 1]

    @classmethod
    def of(cls, image: np.ndarray) -> Thumbnail:
        """Of an image (H, W, 3) uint8."""
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
        return cls(small.astype(np.float32).mean(axis=-1) / 255)

    @property
    def is_blank(self) -> bool:
        """Whether only smooth brightness is left: a covered lens (some light may leak in) or a close white wall."""
        grey = self.grey.ravel()
        return float((grey - SMOOTH @ (SMOOTH.T @ grey)).std()) < MIN_CONTRAST

    def change(self, other: Thumbnail) -> float:
        """Mean absolute difference, 0 to 1."""
        return float(np.abs(self.grey - other.grey).mean())


class KeyframeGate:
    """Passes a frame set if the minimum interval is over and an image has changed or the heartbeat is due."""

    def __init__(self) -> None:
        self._last: tuple[int, Mapping[str, Thumbnail]] | None = None

    def passes(self, stamp_ns: int, thumbnails: Mapping[str, Thumbnail], config: KeyframeConfig) -> bool:
        """Whether these images (by camera) are keyframes; if so, the next ones are compared with them."""
        if self._last is not None and stamp_ns > self._last[0]:  # stamps that go back open it
            last_ns, before = self._last
            elapsed_s = (stamp_ns - last_ns) * 1e-9
            changes = [shown.change(before[camera]) for camera, shown in thumbnails.items() if camera in before]
            is_due = elapsed_s >= config.heartbeat_s or len(changes) < len(thumbnails)
            has_changed = is_due or max(changes) >= config.min_change
            if elapsed_s < config.min_interval_s or not has_changed:
                return False
        self._last = stamp_ns, thumbnails
        return True
