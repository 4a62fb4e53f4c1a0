"""A model by its name, ready for windows of a stream."""

from __future__ import annotations

import hashlib

import torch

from ...backends import DEFAULT_MODEL, load_model
from ...checkpoints import EMBEDDED_WEIGHTS
from ...errors import ConfigError
from ...fast import Precision
from ...model import Dvlt
from ...model.weights import locate_checkpoint
from ..config import ImageRotation
from .dvlt_predictor import DvltPredictor
from .model_predictor import WindowPredictor
from .prediction import Predictor


def digest_of(weights: str) -> str:
    """SHA-256 of Déjà View's checkpoint, empty for the embedded one.

    Raises:
        WeightsError: no such weights.
    """
    path = locate_checkpoint(weights or EMBEDDED_WEIGHTS)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        return DvltPredictor(network, device, image_rotation, precision, merged_keys)
    if precision is not None:
        raise ConfigError(f"precision is for model {DEFAULT_MODEL}; {model} has its own, got {precision!r}")
    if merged_keys != 1:
        raise ConfigError(f"merged_keys is for model {DEFAULT_MODEL}, got {merged_keys} with {model}")
    return WindowPredictor(load_model(model, weights, device), image_rotation)
