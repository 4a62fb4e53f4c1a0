"""Pictures with parts that are no part of the map: a border that shows nothing, and what is masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..data.frames import Picture
from .prediction import WindowPrediction


def without_borders(prediction: WindowPrediction, pictures: Sequence[Picture]) -> WindowPrediction:
    """NaN depth where the pictures of the decoded views have no content; as it is, where all have it everywhere."""
    if all(picture.inside is None for picture in pictures):
        return prediction
    depth = prediction.depth.copy()
    for view, picture in zip(depth, pictures, strict=True):
        if picture.inside is not None:
            content = prediction.mapping.map_to_network(torch.from_numpy(picture.inside).float())
            view[~(content.numpy() > 0.5)] = np.nan
    return replace(prediction, depth=depth)


def without_masked(prediction: WindowPrediction, pictures: Sequence[Picture]) -> WindowPrediction:
    """NaN depth where the pictures of the decoded views are masked, and that depth apart: see `Reconstruction.masked`.

    Windows are joined, and places recognized, by what stands still alone.
    """
    if all(picture.masked is None for picture in pictures):
        return prediction
    depth, hidden = prediction.depth.copy(), np.full_like(prediction.depth, np.nan)
    for view, apart, picture in zip(depth, hidden, pictures, strict=True):
        if picture.masked is not None:
            is_masked = prediction.mapping.map_to_network(torch.from_numpy(picture.masked).float()).numpy() > 0.5
            apart[is_masked] = view[is_masked]
            view[is_masked] = np.nan
    return replace(prediction, depth=depth, hidden=hidden)
