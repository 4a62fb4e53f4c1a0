"""Loads a model by its name as a `Predictor`."""

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
    """SHA-256 of a Déjà View checkpoint; ``weights`` empty: the one that ships with the package.

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
    """A model on ``device`` with ``weights`` (empty: the model's default ones).

    ``precision`` and ``merged_keys`` configure Déjà View's fast path; other models do not have them.

    Raises:
        ConfigError: no such model, its package is not installed, or it has no ``precision`` or ``merged_keys``.
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
