"""What somebody uploads, or names, as a few photos of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..lens import rectification
from ..sources import SourceImage, open_source
from ..sources.containers import IMAGE_SUFFIXES as SUFFIXES
from ..sources.folder import natural_order, read_image


@dataclass(frozen=True, eq=False)
class Photos:
    """Some of the images of an input, undistorted where the lens is known."""

    images: tuple[np.ndarray, ...]  # (H, W, 3) uint8 RGB, of any sizes
    titles: tuple[str, ...]
    total: int  # how many images the input has

    def __len__(self) -> int:
        return len(self.images)


def read_photos(paths: Sequence[Path], max_views: int) -> Photos:
    """Image files, or one video, one bag or one folder; of more than ``max_views`` images evenly so many.

    Raises:
        DataError: nothing, a mixture, or something that cannot be read; it says which file and why.
    """
    if not paths:
        raise DataError("no photos: choose some images, a video or a bag")
    images = [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if len(images) == len(paths):
        return _read_images(sorted(images, key=natural_order), max_views)
    if len(paths) > 1:
        others = ", ".join(path.name for path in paths if path not in images)
        raise DataError(f"{others}: give either images, or one video, or one bag at a time")
    return _read_stream(paths[0], max_views)


def evenly(count: int, at_most: int) -> list[int]:
    """Indices of at most so many of ``count`` things, evenly spread, the first and the last among them."""
    if at_most < 1:
        raise DataError(f"at least one view is needed, got {at_most}")
    return sorted(set(np.linspace(0, count - 1, min(at_most, count)).round().astype(int).tolist()))


def _read_images(paths: Sequence[Path], max_views: int) -> Photos:
    chosen = [paths[i] for i in evenly(len(paths), max_views)]
    images = []
    for path in chosen:
        try:
            images.append(read_image(path))
        except DataError as error:
            raise DataError(f"{path.name}: {error}") from error
    return Photos(tuple(images), tuple(path.name for path in chosen), len(paths))


def _read_stream(path: Path, max_views: int) -> Photos:
    source = open_source(path)
    chosen = set(evenly(len(source), max_views))
    found = [image for index, image in enumerate(source) if index in chosen]
    if not found:
        raise DataError(f"{path.name}: none of {len(source)} images can be used; {source.refusals.first}")
    start_ns = found[0].stamp_ns
    titles = tuple(f"{(image.stamp_ns - start_ns) * 1e-9:.1f} s" for image in found)
    return Photos(tuple(map(_undistorted, found)), titles, len(source))


def _undistorted(image: SourceImage) -> np.ndarray:
    if image.lens is None or not image.lens.is_distorted:
        return image.image
    return rectification(image.lens).image(image.image)
