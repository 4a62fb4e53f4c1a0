"""Windows of any network corrected by the geometry of their tracks."""

from .keyframes import Keyframe
from .refiner import WindowRefiner
from .window import NO_LANDMARKS, Landmarks, MotionDeviation, NetworkAnswer, PosePrior, Refined, Report, WindowFrame

__all__ = [
    "NO_LANDMARKS",
    "Keyframe",
    "Landmarks",
    "MotionDeviation",
    "NetworkAnswer",
    "PosePrior",
    "Refined",
    "Report",
    "WindowFrame",
    "WindowRefiner",
]
