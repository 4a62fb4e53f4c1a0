"""The Déjà View model (arXiv 2605.30215): build it, load it, run it."""

from .checks import check_images
from .config import DvltConfig
from .dvlt import Dvlt
from .images import PixelMapping, PreparedImages, prepare_images
from .loop import Step
from .stages import Features, Prediction, State

__all__ = [
    "Dvlt",
    "DvltConfig",
    "Features",
    "PixelMapping",
    "Prediction",
    "PreparedImages",
    "State",
    "Step",
    "check_images",
    "prepare_images",
]
