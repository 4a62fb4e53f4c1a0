"""Data that the other packages exchange.

In: frames of cameras (`Frame`). Out: frames in the map (`Reconstruction`), the report of a window's registration, and
corrections by loop closures. Views and anchors are what both are between admission and publication.
"""

from .corrections import Correction
from .counters import Counters, FrameCounts
from .frames import OUT_OF_ORDER_S, Cloud, Frame, Picture, Reconstruction, RegistrationReport, RegistrationState
from .turn import ImageRotation, Turn
from .views import Anchor, View, Window, last_frame_sets

__all__ = [
    "OUT_OF_ORDER_S",
    "Anchor",
    "Cloud",
    "Correction",
    "Counters",
    "Frame",
    "FrameCounts",
    "ImageRotation",
    "Picture",
    "Reconstruction",
    "RegistrationReport",
    "RegistrationState",
    "Turn",
    "View",
    "Window",
    "last_frame_sets",
]
