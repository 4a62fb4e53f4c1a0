"""Maps without the seams between patches: a linear head draws each patch by itself, so that neighbours do not meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...refinement.guided_filter import guided
from .prediction import WindowPrediction


def without_seams(found: WindowPrediction, grays: Sequence[np.ndarray]) -> WindowPrediction:
    """Logarithms of depth and confidence through the guided filter; ``grays`` (h, w), 0 to 1, are the views' images."""
    depth, confidence = (
        np.stack([_filtered(gray, values) for gray, values in zip(grays, maps, strict=True)])
        for maps in (found.depth, found.confidence)
    )
    return replace(found, depth=depth, confidence=np.maximum(confidence, 1))


def _filtered(gray: np.ndarray, values: np.ndarray) -> np.ndarray:
    logarithm = np.log(np.where(values > 0, values, np.nan))
    return np.exp(guided(gray, logarithm, np.ones_like(values)))
