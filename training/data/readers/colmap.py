"""COLMAP's text models: cameras.txt and images.txt (https://colmap.github.io/format.html).

Its pixel (0, 0) is centred at (0.5, 0.5), as here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.sources.poses import pose_from_quaternion


@dataclass(frozen=True)
class ColmapCamera:
    model: str
    size: tuple[int, int]  # (height, width)
    parameters: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ColmapImage:
    name: str
    camera_id: int
    world_from_cam: np.ndarray  # (4, 4)


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Cameras by id.

    Raises:
        DataError: an unreadable file or row, or no camera.
    """
    cameras = {}
    for line in _lines(path):
        words = line.split()
        if not words:
            continue
        try:
            size = (int(words[3]), int(words[2]))
            cameras[int(words[0])] = ColmapCamera(words[1], size, tuple(float(word) for word in words[4:]))
        except (IndexError, ValueError) as error:
            raise DataError(f"{path}: {line!r} is not a camera: id, model, width, height, parameters") from error
    if not cameras:
        raise DataError(f"{path}: no cameras")
    return cameras


def read_images(path: Path) -> list[ColmapImage]:
    """Images, sorted by name.

    Raises:
        DataError: an unreadable file or row, or no image.
    """
    images = []
    for line in _lines(path)[::2]:  # every other line lists an image's points, and may be empty
        words = line.split()
        try:
            w, x, y, z, *translation = (float(word) for word in words[1:8])
            cam_from_world = pose_from_quaternion(translation, (x, y, z, w), f"{path}: {words[9]}")
            images.append(ColmapImage(words[9], int(words[8]), np.linalg.inv(cam_from_world)))
        except (IndexError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: {line!r} is not an image: id, quaternion, translation, camera, name") from error
    if not images:
        raise DataError(f"{path}: no images")
    return sorted(images, key=lambda image: image.name)


def camera_of(image: ColmapImage, cameras: dict[int, ColmapCamera], model: str, source: Path) -> ColmapCamera:
    """An image's camera, which is of this model.

    Raises:
        DataError: no such camera, or one of another model.
    """
    if image.camera_id not in cameras:
        raise DataError(f"{source}: no camera {image.camera_id}, which {image.name} has")
    camera = cameras[image.camera_id]
    if camera.model != model:
        raise DataError(f"{source}: the camera of {image.name} must be {model}, got {camera.model}")
    return camera


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable: {error}") from error
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]
