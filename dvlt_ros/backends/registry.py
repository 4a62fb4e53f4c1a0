"""The models by name. Adding one is a file beside this one and its name in MODULES."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import torch

from ..checkpoints import EMBEDDED
from ..errors import ConfigError
from .protocol import ModelCard, MultiViewModel

MODULES = ("dvlt", "vggt", "vggt_omega", "depth_anything_3", "pi3", "map_anything", "mast3r")

DEFAULT_MODEL = "dvlt"

logger = logging.getLogger(__name__)


class ModelModule(Protocol):
    """What a file of this folder offers; importing it imports nothing of upstream."""

    CARDS: tuple[ModelCard, ...]

    def load(self, card: ModelCard, weights: str, device: torch.device) -> MultiViewModel:
        """Raises ConfigError where the upstream package is missing, WeightsError where the weights do not fit."""


@cache
def _modules() -> dict[str, tuple[ModelCard, ModelModule]]:
    found: dict[str, tuple[ModelCard, ModelModule]] = {}
    for name in MODULES:
        module = cast(ModelModule, importlib.import_module(f".{name}", __package__))
        found |= {card.name: (card, module) for card in module.CARDS}
    return found


def model_names() -> tuple[str, ...]:
    """All that --model and the node's parameter ``model`` take, installed or not."""
    return tuple(_modules())


def model_card(name: str) -> ModelCard:
    """Raises ConfigError for a name that no model has."""
    if name not in _modules():
        raise ConfigError(f"model must be one of {', '.join(model_names())}, got {name!r}")
    return _modules()[name][0]


def checkpoint_title(name: str, weights: str = "") -> str:
    """Model and checkpoint as every surface names them, ``Déjà View dvlt-nano``; the arguments are `load_model`'s.

    Raises:
        ConfigError: a name that no model has.
    """
    card = model_card(name)
    source = card.default_weights.source if weights in ("", EMBEDDED) else weights
    path = Path(source).expanduser()
    if not path.is_absolute() and not path.exists():  # a Hugging Face id
        return f"{card.title} {source}"
    parts = path.resolve().parts
    own = parts[-1:] if parts[-1] not in ("model.safetensors", "checkpoint", "best", "last") else parts[-2:]
    return f"{card.title} {'/'.join(own)}"


def is_installed(name: str) -> bool:
    """Whether the model's package is here; nothing is imported."""
    package = model_card(name).package
    if not package:
        return True
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def load_model(name: str, weights: str | Path = "", device: torch.device | str = "cpu") -> MultiViewModel:
    """A model with its weights on a device, in evaluation mode; that weights are not free for all is said in the log.

    Args:
        name: one of `model_names`.
        weights: what the model can load: a directory, a ``.safetensors`` file or a Hugging Face id; empty: its own.

    Raises:
        ConfigError: no such model, or its package is not installed; the message has the command that does it.
        WeightsError: no such weights, or they do not fit.
    """
    card = model_card(name)
    source = str(weights) or card.default_weights.source
    model = _modules()[name][1].load(card, source, torch.device(device))
    if card.install and (warning := licence_warning(card, source)) is not None:  # our own weights say it themselves
        logger.warning(warning)
    return model


def licence_warning(card: ModelCard, source: str) -> str | None:
    """One sentence on weights that may not be used for everything; None: they may."""
    known = card.known_weights(source)
    if known is None:
        published = "; ".join(f"{weights.source}: {weights.licence}" for weights in card.weights)
        return f"{source}: the licence of these weights of {card.title} is not known here ({published})"
    if known.allows_commercial_use:
        return None
    return f"{source}: NON-COMMERCIAL USE ONLY: the weights of {card.title} are under {known.licence}"
