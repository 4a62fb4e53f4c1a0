"""A folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from ..errors import DataError
from ..lens import MODEL_NAMES, Lens
from .images import Refusals, SourceImage

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
CAMERA_INFO = "camera_info.yaml"
SECONDS = re.compile(r"\d{6,}\.\d+")  # as TUM and EuRoC name images


class FolderSource:
    """Images sorted as people count; stamps from names that are seconds, else one every 1 / ``rate_hz``.

    A ``camera_info.yaml`` as ROS's camera_calibration writes it, in the folder or above it, describes the lens.
    """

    def __init__(self, folder: Path, rate_hz: float, frame_id: str) -> None:
        """Raises DataError if there is no image, or a camera_info.yaml that cannot be used."""
        self.refusals = Refusals()
        self._rate_hz, self._frame_id = rate_hz, frame_id
        self._paths = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=natural_order)
        if not self._paths:
            raise DataError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))})")
        found = [path for path in (folder / CAMERA_INFO, folder.parent / CAMERA_INFO) if path.is_file()]
        self._lens = read_camera_info(found[0]) if found else None
        self._named_by_time = all(SECONDS.fullmatch(path.stem) for path in self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[SourceImage]:
        for index, path in enumerate(self._paths):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                self.refusals.add(f"{path}: not a readable image")
                continue
            try:
                lens = lens_for(self._lens, image)
            except DataError as error:
                self.refusals.add(f"{path}: {error}")
                continue
            yield SourceImage(self._stamp_ns(index, path), self._frame_id, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), lens)

    def _stamp_ns(self, index: int, path: Path) -> int:
        if self._named_by_time:
            seconds, _, fraction = path.stem.partition(".")
            return int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9])
        return round((index + 1) * 1e9 / self._rate_hz)


def natural_order(path: Path) -> list[tuple[bool, int | str]]:
    """2.jpg before 10.jpg."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", path.name) if part]


def lens_for(lens: Lens | None, image: np.ndarray) -> Lens | None:
    """Raises DataError for an image of another size than the lens was calibrated for."""
    if lens is not None and image.shape[:2] != lens.size:
        got, wanted = (f"{width} x {height}" for height, width in (image.shape[:2], lens.size))
        raise DataError(f"it is {got}, the camera of {CAMERA_INFO} has {wanted}")
    return lens


def read_camera_info(path: Path) -> Lens:
    """Raises DataError for a file that is not a calibration."""
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text())
        k = [float(value) for value in content["camera_matrix"]["data"]]
        distortion = tuple(float(value) for value in content["distortion_coefficients"]["data"])
        size = int(content["image_height"]), int(content["image_width"])
        model = content.get("distortion_model", "plumb_bob")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a camera calibration: {error!r}") from error
    # ROS puts pixel centres at integers.
    return Lens(k[0], k[4], k[2] + 0.5, k[5] + 0.5, size, MODEL_NAMES.get(model, model), distortion, source=str(path))
