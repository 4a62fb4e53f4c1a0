"""Pictures with a border that shows nothing: what a network finds there is no depth."""

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
