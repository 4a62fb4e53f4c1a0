"""What somebody uploads, or names, as a few photos of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..imaging import View
from ..sources import open_source
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


def read_photos(paths: Sequence[Path], max_views: int, longest_edge: int | None = None) -> Photos:
    """Image files, or one video, one bag or one folder; of more than ``max_views`` images evenly so many.

    ``longest_edge``: pixels that are kept of each image; None: all.

    Raises:
        DataError: nothing, a mixture, or something that cannot be read; it says which file and why.
    """
    if not paths:
        raise DataError("no photos: choose some images, a video or a bag")
    images = [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if len(images) == len(paths):
        return _read_images(sorted(images, key=natural_order), max_views, longest_edge)
    if len(paths) > 1:
        others = ", ".join(path.name for path in paths if path not in images)
        raise DataError(f"{others}: give either images, or one video, or one bag at a time")
    return _read_stream(paths[0], max_views, longest_edge)


def evenly(count: int, at_most: int) -> list[int]:
    """Indices of at most so many of ``count`` things, evenly spread, the first and the last among them."""
    if at_most < 1:
        raise DataError(f"at least one view is needed, got {at_most}")
    return sorted(set(np.linspace(0, count - 1, min(at_most, count)).round().astype(int).tolist()))


def _read_images(paths: Sequence[Path], max_views: int, longest_edge: int | None) -> Photos:
    chosen = [paths[i] for i in evenly(len(paths), max_views)]
    images = []
    for path in chosen:
        try:
            images.append(_shown(View(read_image(path), None), longest_edge))
        except DataError as error:
            raise DataError(f"{path.name}: {error}") from error
    return Photos(tuple(images), tuple(path.name for path in chosen), len(paths))


def _read_stream(path: Path, max_views: int, longest_edge: int | None) -> Photos:
    source = open_source(path)
    chosen = set(evenly(len(source), max_views))
    images, stamps_ns = [], []
    for index, image in enumerate(source):
        if index in chosen:
            images.append(_shown(image.view, longest_edge))
            stamps_ns.append(image.stamp_ns)
    if not images:
        raise DataError(f"{path.name}: none of {len(source)} images can be used; {source.refusals}")
    titles = tuple(f"{(stamp_ns - stamps_ns[0]) * 1e-9:.1f} s" for stamp_ns in stamps_ns)
    return Photos(tuple(images), titles, len(source))


def _shown(view: View, longest_edge: int | None) -> np.ndarray:
    """Undistorted, and no larger than asked for."""
    view = view.pinhole()
    height, width = view.image.shape[:2]
    if longest_edge is None or max(height, width) <= longest_edge:
        return view.image
    scale = longest_edge / max(height, width)
    return view.scaled(max(1, round(scale * height)), max(1, round(scale * width))).image
