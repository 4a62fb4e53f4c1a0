"""The guided filter (He et al. 2013) with weights: maps are smoothed, and end where the colours of their image do."""

from __future__ import annotations

import cv2
import numpy as np

RADIUS = 4  # pixels
EDGE = 1e-3  # variance of grey values that is an edge


def guided(gray: np.ndarray, values: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Values (h, w) float32 as a local linear function of the guide, weighted by their information; NaN stays NaN.

    Args:
        gray: (h, w) float32, 0 to 1.
        information: (h, w), inverse variances of the values, up to one factor; far above 1e-6.
    """
    known = np.isfinite(values)
    weight = np.where(known, information, 0).astype(np.float32)
    filled = np.where(known, values, 0).astype(np.float32)
    around = box(weight) + np.float32(1e-6)
    mean_gray, mean = box(weight * gray) / around, box(weight * filled) / around
    covariance = box(weight * gray * filled) / around - mean_gray * mean
    slope = covariance / (box(weight * np.square(gray)) / around - np.square(mean_gray) + EDGE)
    level = mean - slope * mean_gray
    return np.where(known, (box(slope * around) * gray + box(level * around)) / box(around), np.nan)


def box(values: np.ndarray) -> np.ndarray:
    """Mean over the square around each pixel (h, w)."""
    return cv2.boxFilter(values, -1, (2 * RADIUS + 1, 2 * RADIUS + 1))
