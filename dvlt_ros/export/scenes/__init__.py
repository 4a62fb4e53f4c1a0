"""A reconstruction for other programs: COLMAP models, nerfstudio's transforms.json and Gaussian splats."""

from .scene import FORMATS, MODEL_FORMATS, SceneFormat, SceneImage, ScenePoints, Sight, check_formats
from .writing import export_scene

__all__ = [
    "FORMATS",
    "MODEL_FORMATS",
    "SceneFormat",
    "SceneImage",
    "ScenePoints",
    "Sight",
    "check_formats",
    "export_scene",
]
