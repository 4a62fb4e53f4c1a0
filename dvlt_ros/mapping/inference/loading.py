"""A model by its name, ready for windows of a stream."""

from __future__ import annotations

import torch

from ...backends import DEFAULT_MODEL, load_model
from ...errors import ConfigError
from ...fast import Precision
from ...model import Dvlt
from ..config import ImageRotation
from .dvlt_predictor import DvltPredictor
from .model_predictor import WindowPredictor
from .prediction import Predictor


def load_predictor(
    model: str,
    weights: str,
    device: torch.device,
    image_rotation: ImageRotation = 0,
    precision: Precision | None = None,
    merged_keys: int = 1,
) -> Predictor:
    """``weights`` may be empty: the model's own; ``precision`` and ``merged_keys`` are of Déjà View's fast path.

    Raises:
        ConfigError: no such model, its package is not installed, or it knows no ``precision`` or ``merged_keys``.
        WeightsError: no such weights, or they do not fit.
    """
    if model == DEFAULT_MODEL:
        network = Dvlt.from_pretrained(weights or None)
        return DvltPredictor(network, device, image_rotation, precision, merged_keys, weights)
    if precision is not None:
        raise ConfigError(f"precision is for model {DEFAULT_MODEL}; {model} has its own, got {precision!r}")
    if merged_keys != 1:
        raise ConfigError(f"merged_keys is for model {DEFAULT_MODEL}, got {merged_keys} with {model}")
    return WindowPredictor(load_model(model, weights, device), image_rotation)
