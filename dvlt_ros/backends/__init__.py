"""Multi-view models of several makers behind one protocol."""

from .protocol import ModelCard, MultiViewModel, MultiViewPrediction, WeightsCard
from .registry import DEFAULT_MODEL, checkpoint_title, is_installed, load_model, model_card, model_names

__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "MultiViewModel",
    "MultiViewPrediction",
    "WeightsCard",
    "checkpoint_title",
    "is_installed",
    "load_model",
    "model_card",
    "model_names",
]
