"""Networks on windows of a stream.

In: the views of a window and K. Out: depth, confidence and cameras of the views that are needed, up to one scale per
window (`WindowPrediction`), and place descriptors. `Predictor` is the interface, `load_predictor` gives one by name.
"""

from .descriptors import describe
from .dvlt_predictor import DvltPredictor, choose_device
from .loading import load_predictor
from .model_predictor import WindowPredictor
from .prediction import DeviceMemoryError, PlaceRecognizer, Predictor, Preparable, WindowPrediction
from .refining import RefinementConfig, RefiningPredictor

__all__ = [
    "DeviceMemoryError",
    "DvltPredictor",
    "PlaceRecognizer",
    "Predictor",
    "Preparable",
    "RefinementConfig",
    "RefiningPredictor",
    "WindowPrediction",
    "WindowPredictor",
    "choose_device",
    "describe",
    "load_predictor",
]
