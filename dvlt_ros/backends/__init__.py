"""Multi-view models of several makers behind one protocol."""

from .protocol import ModelCard, MultiViewModel, MultiViewPrediction, WeightsCard
from .registry import DEFAULT_MODEL, is_installed, load_model, model_card, model_names

__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "MultiViewModel",
    "MultiViewPrediction",
    "WeightsCard",
    "is_installed",
    "load_model",
    "model_card",
    "model_names",
]
