"""Place descriptors from the encoder's features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...model import Features

CELLS = (2, 4)  # rows, columns
MAX_CHANNELS = 256  # of a cell; wider features get a fixed random projection, which nearly keeps angles
PROJECTION_SEED = 0


def describe(features: Features) -> np.ndarray:
    """Descriptors (S, cells, channels) float32 of one window's views.

    Raises:
        InputError: features of several windows.
    """
    rows, columns = features.grid
    if features.tokens.dim() != 4 or features.tokens.shape[0] != 1:
        raise InputError(f"places are described window by window, got features {tuple(features.tokens.shape)}")
    tokens = torch.nn.functional.normalize(features.tokens[0].float(), dim=-1)
    image = tokens.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
    cells = torch.nn.functional.adaptive_avg_pool2d(image, CELLS).flatten(2).mT
    return _narrow(cells).cpu().numpy()


def _narrow(cells: Tensor) -> Tensor:
    channels = cells.shape[-1]
    if channels <= MAX_CHANNELS:
        return cells
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    projection = torch.randn(channels, MAX_CHANNELS, generator=generator) / MAX_CHANNELS**0.5
    return cells @ projection.to(cells.device)
