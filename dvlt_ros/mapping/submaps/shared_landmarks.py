"""The tracked points that a refined window shares with the map: far fewer than pixels, and far more exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..data.views import Anchor
from ..inference.prediction import WindowPrediction
from .registration import SharedPoints

MIN_LANDMARKS = 60  # over all shared views, that replace the pixels
UNMODELLED = 0.02  # relative error of a landmark's depth, however exact its track


def shared_landmarks(prediction: WindowPrediction, shared: Sequence[Anchor]) -> SharedPoints | None:
    """The landmarks of the shared views that both know; None: too few.

    ``prediction`` holds the shared views first.
    """
    if not prediction.landmarks:
        return None
    pairs = [prediction.landmarks[view].common(known.landmarks) for view, known in enumerate(shared)]
    counts = [len(seen.points) for seen, _ in pairs]
    if sum(counts) < MIN_LANDMARKS:
        return None
    local = np.full((2, len(shared), max(counts), 3), np.nan)  # of window and map, in the cameras' frames
    deviation = np.full(local.shape[:-1], np.nan)
    for view, (pair, count) in enumerate(zip(pairs, counts, strict=True)):
        for side, seen in enumerate(pair):
            local[side, view, :count], deviation[side, view, :count] = seen.points, seen.deviation
    poses = np.stack([prediction.window_from_cam[: len(shared)], [known.map_from_cam for known in shared]])
    points = local @ poses[..., :3, :3].swapaxes(-1, -2) + poses[..., None, :3, 3]
    weights = 1 / (np.square(deviation).sum(axis=0) + UNMODELLED**2)
    parts = (*points, weights, *local[..., 2], *poses[..., :3, :3])
    return SharedPoints(*(torch.from_numpy(part) for part in parts))
