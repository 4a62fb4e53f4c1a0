"""Points followed from frame to frame: pyramidal Lucas-Kanade (Bouguet 2001), checked forward and backward.

A stream's tracks go on for as long as they are seen, so that every frame is tracked once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

WORKING_WIDTH = 320  # pixels that an image is halved to, at the least
MAX_TRACKS = 130
REFILL_BELOW = 0.85  # of MAX_TRACKS
MIN_DISTANCE = 0.03  # of the width, between tracks
MIN_QUALITY = 0.01  # of the strongest corner
BLOCK = 11  # pixels
LEVELS = 4
BACKWARD_LEVELS = 1  # it begins where the track was, a small error away from where it ends
MAX_BACK_ERROR = 0.5  # pixels
USUAL_MEAN, USUAL_SPREAD = 118.0, 50.0  # grey values that every image is brought to: exposure may change
MIN_SPREAD = 4.0  # grey values; an image with less shows nothing
CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 0.03)  # steps, pixels


@dataclass(frozen=True, eq=False)
class Sights:
    """Where the tracks are in one frame."""

    tracks: np.ndarray  # (N,) int, one number per track over the stream's life
    pixels: np.ndarray  # (N, 2) float64, of the image; pixel (0, 0) centred at (0.5, 0.5)


class FlowTracker:
    """Follows one camera's points; numbers of tracks are never used again."""

    def __init__(self) -> None:
        self._gray: np.ndarray | None = None
        self._points = np.zeros((0, 1, 2), dtype=np.float32)  # of the working image, OpenCV's pixel centres
        self._tracks = np.zeros(0, dtype=int)
        self._next = 0

    def begin_anew(self) -> None:
        """The next image shows something else."""
        self._gray = None

    def track(self, image: np.ndarray) -> Sights:
        """The next frame (H, W, 3) uint8 of the stream; one of another size begins anew."""
        gray, scale = working_image(image)
        if self._gray is not None and self._gray.shape == gray.shape and len(self._points):
            self._follow(self._gray, gray)
        else:
            self._points, self._tracks = self._points[:0], self._tracks[:0]
        if len(self._points) < REFILL_BELOW * MAX_TRACKS:
            self._refill(gray)
        self._gray = gray
        return Sights(self._tracks, (self._points[:, 0].astype(np.float64) + 0.5) * scale)

    def _follow(self, before: np.ndarray, gray: np.ndarray) -> None:
        options: dict[str, Any] = {"winSize": (BLOCK, BLOCK), "criteria": CRITERIA}
        follow: Any = cv2.calcOpticalFlowPyrLK
        moved, found, _ = follow(before, gray, self._points, None, maxLevel=LEVELS - 1, **options)
        back, returned, _ = follow(
            gray, before, moved, self._points.copy(), maxLevel=BACKWARD_LEVELS,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **options,
        )  # fmt: skip
        error = np.abs(back - self._points).max(axis=(1, 2))
        inside = ((moved[:, 0] >= 2) & (moved[:, 0] < np.array(gray.shape[::-1]) - 3)).all(axis=1)
        kept = (found.ravel() > 0) & (returned.ravel() > 0) & (error < MAX_BACK_ERROR) & inside
        self._points, self._tracks = moved[kept], self._tracks[kept]

    def _refill(self, gray: np.ndarray) -> None:
        """Corners where no track is."""
        if cv2.meanStdDev(gray)[1].item() < MIN_SPREAD:
            return
        distance = MIN_DISTANCE * gray.shape[1]
        free = np.full(gray.shape, 255, dtype=np.uint8)
        dots = np.round(self._points).astype(np.int32).repeat(2, axis=1)  # lines of no length with round ends
        cv2.polylines(free, list(dots), False, 0, 2 * round(distance))
        corners: Any = cv2.goodFeaturesToTrack(gray, MAX_TRACKS - len(self._points), MIN_QUALITY, distance, mask=free)
        if corners is None:
            return
        numbers = np.arange(self._next, self._next + len(corners))
        self._next += len(corners)
        self._points = np.concatenate([self._points, corners.reshape(-1, 1, 2)])
        self._tracks = np.concatenate([self._tracks, numbers])


def working_image(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey at the size that tracking works at and in usual brightness, and (2,) pixels of the image per its pixel."""
    height, width = image.shape[:2]
    factor = max(1, round(width / WORKING_WIDTH))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if factor > 1:
        gray = cv2.resize(gray, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    (mean,), (spread,) = (value.ravel() for value in cv2.meanStdDev(gray))
    if spread > MIN_SPREAD:
        table = (np.arange(256) - mean) * (USUAL_SPREAD / spread) + USUAL_MEAN
        gray = cv2.LUT(gray, table.round().clip(0, 255).astype(np.uint8))
    return gray, np.array([width / gray.shape[1], height / gray.shape[0]])
