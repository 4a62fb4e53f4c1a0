"""Points that are found again in frames far apart: SIFT (Lowe 2004), compared as RootSIFT (Arandjelović 2012)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

MAX_FEATURES = 1200  # of a frame
MIN_CONTRAST = 0.013  # below OpenCV's 0.04: indoor walls are faint
MAX_RATIO = 0.85  # distance of the best match over that of the second
RATIO_OF_COSINES = MAX_RATIO**2


@dataclass(frozen=True, eq=False)
class Features:
    pixels: np.ndarray  # (N, 2) float64, pixel (0, 0) centred at (0.5, 0.5)
    descriptors: np.ndarray  # (N, 128) float32 of length 1


@cache
def detector() -> Any:
    sift: Any = cv2.SIFT_create  # type: ignore[attr-defined]
    return sift(MAX_FEATURES, contrastThreshold=MIN_CONTRAST, enable_precise_upscale=True)


def describe(gray: np.ndarray) -> Features:
    """Of an image (H, W) uint8. A place with several orientations has a feature for each, and counts once for each that
    is matched: to count it once costs two points of AUC@30 on the frozen benchmark."""
    found, descriptors = detector().detectAndCompute(gray, None)
    if not found:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), dtype=np.float32))
    pixels = np.array([point.pt for point in found]) + 0.5
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9))
    return Features(pixels, root.astype(np.float32))


def match(a: Features, b: Features) -> np.ndarray:
    """(M, 2) indices of features that are each other's best and clearly better than the second."""
    if len(a.pixels) < 2 or len(b.pixels) < 2:
        return np.zeros((0, 2), dtype=int)
    cosine = a.descriptors @ b.descriptors.T
    best = cosine.argmax(axis=1)
    rows = np.arange(len(best))
    top = cosine[rows, best]
    back = cosine.argmax(axis=0)
    mutual = back[best] == rows
    # The second best has to lie elsewhere: a place with two orientations is its own twin.
    rows = rows[mutual]
    candidates = cosine[rows]
    near = np.abs(b.pixels[best[rows], None] - b.pixels[None]).max(axis=-1) < 2
    candidates[near] = -1
    second = candidates.max(axis=1)
    clear = (1 - top[rows]) < RATIO_OF_COSINES * (1 - second)
    return np.stack([rows[clear], best[rows[clear]]], axis=1)
