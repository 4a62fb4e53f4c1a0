"""What a scene consists of: images with cameras, what they see, and points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ...errors import ConfigError, InputError

SceneFormat = Literal["colmap", "nerfstudio", "splats"]
FORMATS: tuple[SceneFormat, ...] = get_args(SceneFormat)
MODEL_FORMATS: tuple[SceneFormat, ...] = ("colmap", "nerfstudio")  # which consist of images and cameras


@dataclass(frozen=True, eq=False)
class Sight:
    """What one image sees: depth and colours on one grid of pixels, which may be coarser than the image's."""

    depth: np.ndarray  # (h, w) float32 along the optical axis, the world's unit; NaN where not trusted
    colors: np.ndarray  # (h, w, 3) uint8 RGB
    intrinsics: np.ndarray  # (3, 3), pixels of the grid, pixel (0, 0) centred at (0.5, 0.5)


@dataclass(frozen=True, eq=False)
class SceneImage:
    """An undistorted image with its camera. Pixels are read when they are needed: a recording exceeds the memory."""

    name: str  # of its file in images/
    size: tuple[int, int]  # (height, width)
    intrinsics: np.ndarray  # (3, 3), pixels of the image, pixel (0, 0) centred at (0.5, 0.5)
    world_from_cam: np.ndarray  # (4, 4), rigid, optical axes (x right, y down, z forward)
    write: Callable[[Path], object]  # the file, at this path
    sight: Callable[[], Sight]


@dataclass(frozen=True, eq=False)
class ScenePoints:
    """Coloured points of the world."""

    points: np.ndarray  # (N, 3)
    colors: np.ndarray  # (N, 3) uint8 RGB

    def at_most(self, count: int) -> ScenePoints:
        """As many of them, drawn at random, the same each time."""
        if len(self.points) <= count:
            return self
        kept = np.sort(np.random.default_rng(0).choice(len(self.points), count, replace=False))
        return ScenePoints(self.points[kept], self.colors[kept])


def check_formats(formats: Sequence[str], option: str) -> tuple[SceneFormat, ...]:
    """Raises ConfigError: an unknown format; it names ``option``."""
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ConfigError(f"{option} must be of {', '.join(FORMATS)}, got {', '.join(unknown)}")
    return tuple(name for name in FORMATS if name in formats)


def check_scene(folder: Path, images: Sequence[SceneImage], points: ScenePoints) -> None:
    """Raises InputError: nothing to write, numbers that are not finite, or file names that are not one each."""
    if not images:
        raise InputError(f"{folder}: a scene needs at least one image")
    if not len(points.points):
        raise InputError(f"{folder}: no trusted depth in any of {len(images)} images")
    names = [image.name for image in images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{folder}: two images have one name, {twice}")
    for image in images:
        if not (np.isfinite(image.world_from_cam).all() and np.isfinite(image.intrinsics).all()):
            raise InputError(f"{folder}: the camera of {image.name} is not finite")
    if not np.isfinite(points.points).all():
        raise InputError(f"{folder}: a point is not finite")
