"""A folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..errors import DataError
from ..lens import MODEL_NAMES, Lens
from .images import Refusals, SourceImage
from .messages import decode_image
from .tum import nanoseconds_of, tum_rows

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
CAMERA_INFO = "camera_info.yaml"
LISTING = "rgb.txt"  # of TUM's RGB-D data: a time in seconds and a file name per line
SECONDS = re.compile(r"\d{6,}\.\d+")  # as TUM names images
NANOSECONDS = re.compile(r"\d{19}")  # as EuRoC names images


class FolderSource:
    """Images of a folder.

    With times from an ``rgb.txt`` or from names that are seconds or nanoseconds they are sorted by time; else they
    are sorted as people count, one every 1 / ``rate_hz``. A ``camera_info.yaml`` as ROS's camera_calibration
    writes it, in the folder or above it, describes the lens.
    """

    def __init__(self, folder: Path, rate_hz: float, frame_id: str, read_lens: bool = True) -> None:
        """``read_lens``: look for a camera_info.yaml.

        Raises:
            DataError: no image, or an rgb.txt or camera_info.yaml that cannot be used.
        """
        self.refusals, self.camera_problem = Refusals(), ""
        self._frame_id = frame_id
        self._images = read_listing(folder / LISTING) if (folder / LISTING).is_file() else find_images(folder, rate_hz)
        found = [path for path in (folder / CAMERA_INFO, folder.parent / CAMERA_INFO) if path.is_file()]
        self._lens = read_camera_info(found[0]) if found and read_lens else None

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[SourceImage]:
        self.refusals.clear()
        for stamp_ns, path in self._images:
            try:
                image = read_image(path)
                check_size(self._lens, image)
            except DataError as error:
                self.refusals.add(f"{path}: {error}")
                continue
            yield SourceImage(stamp_ns, self._frame_id, image, self._lens)


def find_images(folder: Path, rate_hz: float) -> list[tuple[int, Path]]:
    """(stamp in ns, path) of the images in a folder."""
    try:
        entries = sorted(folder.iterdir(), key=natural_order)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    paths = [path for path in entries if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not paths:
        folders = ", ".join(path.name for path in entries if path.is_dir())
        there = f"; folders in it: {folders}" if folders else ""
        raise DataError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))}){there}")
    if all(SECONDS.fullmatch(path.stem) for path in paths):
        return sorted((nanoseconds_of(path.stem, path), path) for path in paths)
    if all(NANOSECONDS.fullmatch(path.stem) for path in paths):
        return sorted((int(path.stem), path) for path in paths)
    return [(round((index + 1) * 1e9 / rate_hz), path) for index, path in enumerate(paths)]


def read_listing(path: Path) -> list[tuple[int, Path]]:
    """(stamp in ns, path) of the images that an rgb.txt names."""
    rows = tum_rows(path)
    if (bad := next((row for row in rows if len(row) != 2), None)) is not None:
        raise DataError(f"{path}: rows must be a time in seconds and a file name, got {' '.join(bad)!r}")
    images = sorted((nanoseconds_of(time, path), path.parent / name) for time, name in rows)
    if not images or images[0][0] <= 0:
        raise DataError(f"{path}: {'times must be above 0' if images else 'no images in it'}")
    return images


def natural_order(path: Path) -> list[tuple[bool, int | str]]:
    """2.jpg before 10.jpg."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(index % 2 == 1, int(part) if index % 2 else part) for index, part in enumerate(parts) if part]


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as the file says."""
    try:
        return decode_image(np.fromfile(path, dtype=np.uint8))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error


def check_size(lens: Lens | None, image: np.ndarray) -> None:
    """Raises DataError for an image of another size than the lens was calibrated for."""
    if lens is not None and image.shape[:2] != lens.size:
        got, wanted = (f"{width} x {height}" for height, width in (image.shape[:2], lens.size))
        raise DataError(f"it is {got}, the camera of {lens.source} has {wanted}")


def read_camera_info(path: Path) -> Lens:
    """Raises DataError for a file that is not a calibration."""
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        fx, _, cx, _, fy, cy, *_ = (float(value) for value in content["camera_matrix"]["data"])
        distortion = tuple(float(value) for value in content["distortion_coefficients"]["data"])
        size = int(content["image_height"]), int(content["image_width"])
        model = content.get("distortion_model", "plumb_bob")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a camera calibration: {error!r}") from error
    # ROS puts pixel centres at integers.
    return Lens(fx, fy, cx + 0.5, cy + 0.5, size, MODEL_NAMES.get(model, model), distortion, source=str(path))
