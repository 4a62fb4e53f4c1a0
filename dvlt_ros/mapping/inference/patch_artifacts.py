"""Maps without patch artifacts: a linear head draws each patch by itself, so that neighbours do not meet.

A guided filter smooths over the patches and moves edges to where the image has them. Between two surfaces far apart it
would leave points that lie on neither: there each pixel goes to the nearer of the two. It comes after the refinement,
which is told better by the depth as the network gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from ...model import PixelMapping
from ...refinement.guided_filter import RADIUS, box, guided
from ..data.frames import Picture
from .prediction import WindowPrediction

FAR_APART = 0.3  # logarithm of depth between two surfaces in one neighbourhood
LEAST_SHARE = np.float32(1e-4)  # of a square: less is a rounding error
REACH = np.ones((4 * RADIUS + 1, 4 * RADIUS + 1), np.uint8)  # of the filter, which takes means of means


def without_patch_artifacts(found: WindowPrediction, pictures: Sequence[Picture]) -> WindowPrediction:
    """Depth and confidence of the decoded views; what is masked, or no content, and the rest do not mix."""
    if not found.grays:
        return found
    depth, confidence = found.depth.copy(), found.confidence.copy()
    for s, (picture, gray) in enumerate(zip(pictures, found.grays, strict=True)):
        for part in _parts(picture, found.mapping, gray.shape):
            depth[s][part] = np.exp(_on_surfaces(gray, _logarithm(found.depth[s], part)))[part]
            smooth = np.exp(guided(gray, _logarithm(found.confidence[s], part), np.ones_like(gray)))[part]
            confidence[s][part] = np.maximum(smooth, 1)
    return replace(found, depth=depth, confidence=confidence)


def _parts(picture: Picture, mapping: PixelMapping, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Masks (h, w) that are together the whole view."""
    parts = [np.ones(shape, bool)]
    for known in (picture.masked, picture.inside):
        if known is not None:
            here = mapping.map_to_network(torch.from_numpy(known).float()).numpy() > 0.5
            parts = [part & side for part in parts for side in (here, ~here)]
    return [part for part in parts if part.any()]


def _logarithm(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    return np.log(np.where(part & (values > 0), values, np.float32(np.nan)))


def _on_surfaces(gray: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Filtered logarithms of depth (h, w); NaN stays NaN."""
    smooth = guided(gray, values, np.ones_like(gray))
    known = np.isfinite(values)
    least = cv2.erode(np.where(known, values, np.float32(np.inf)), REACH)
    most = cv2.dilate(np.where(known, values, np.float32(-np.inf)), REACH)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN is on neither side
        is_near, is_far = values < (least + most) / 2, values >= (least + most) / 2
        near, far = _mean(values, is_near), _mean(values, is_far)
        nearest = np.where(np.isnan(far) | (smooth < (near + far) / 2), near, far)
        return np.where(known & (most - least > FAR_APART), nearest, smooth)


def _mean(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Over those that are chosen in the filter's square around each pixel (h, w); NaN where none is."""
    share = box(chosen.astype(np.float32))
    total = box(np.where(chosen, values, 0).astype(np.float32))
    return np.where(share > LEAST_SHARE, total / np.maximum(share, LEAST_SHARE), np.float32(np.nan))
