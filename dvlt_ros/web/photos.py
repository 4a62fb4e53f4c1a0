"""What somebody uploads, or names, as a few photos of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..imaging import View
from ..lens import Lens
from ..photos.canvas import scaled_size
from ..sources import open_source
from ..sources.containers import IMAGE_SUFFIXES as SUFFIXES
from ..sources.containers import natural_order
from ..sources.folder import read_image

MOST_PHOTOS = 100  # of one scene that are taken
VIEWS_OF_STREAM = 12  # of a video or a bag


@dataclass(frozen=True, eq=False)
class Photos:
    """Some of the images of an input, undistorted where the lens is known."""

    images: tuple[np.ndarray, ...]  # (H, W, 3) uint8 RGB, of any sizes
    titles: tuple[str, ...]
    total: int  # how many images the input has
    intrinsics: np.ndarray  # (S, 3, 3) float64, pixels of each image; NaN where the lens is not known

    @property
    def views(self) -> list[View]:
        """With their lenses."""
        return [
            View(image, _lens(own, image.shape[:2])) for image, own in zip(self.images, self.intrinsics, strict=True)
        ]

    @classmethod
    def of(cls, views: Sequence[View], titles: Sequence[str], total: int) -> Photos:
        """Of undistorted views."""
        unknown = np.full((3, 3), np.nan)
        intrinsics = [unknown if view.lens is None else view.lens.intrinsics for view in views]
        return cls(tuple(view.image for view in views), tuple(titles), total, np.stack(intrinsics))

    def __len__(self) -> int:
        return len(self.images)


def _lens(intrinsics: np.ndarray, size: tuple[int, ...]) -> Lens | None:
    """Without distortion; None where the intrinsics (3, 3) are NaN."""
    if not np.isfinite(intrinsics).all():
        return None
    (fx, _, cx), (_, fy, cy) = intrinsics[:2].tolist()
    return Lens(fx, fy, cx, cy, (size[0], size[1]))


def read_photos(paths: Sequence[Path], max_views: int | None = None, longest_edge: int | None = None) -> Photos:
    """Image files, or one video, one bag or one folder.

    Args:
        max_views: of more images evenly so many; None: `MOST_PHOTOS`, and `VIEWS_OF_STREAM` of what has times.
        longest_edge: pixels that are kept of each image; None: all.

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


def _read_images(paths: Sequence[Path], max_views: int | None, longest_edge: int | None) -> Photos:
    chosen = [paths[i] for i in evenly(len(paths), max_views or MOST_PHOTOS)]
    views = []
    for path in chosen:
        try:
            views.append(_shown(View(read_image(path), None), longest_edge))
        except DataError as error:
            raise DataError(f"{path.name}: {error}") from error
    return Photos.of(views, [path.name for path in chosen], len(paths))


def _read_stream(path: Path, max_views: int | None, longest_edge: int | None) -> Photos:
    source = open_source(path)
    most = max_views or (VIEWS_OF_STREAM if source.has_times else MOST_PHOTOS)
    chosen = set(evenly(len(source), most))
    views: list[View] = []
    images: list[tuple[str, int]] = []  # names and stamps
    for index, image in enumerate(source):
        if index in chosen:
            views.append(_shown(image.view, longest_edge))
            images.append((image.name, image.stamp_ns))
    if not views:
        raise DataError(f"{path.name}: none of {len(source)} images can be used; {source.refusals}")
    titles = [f"{(stamp_ns - images[0][1]) * 1e-9:.1f} s" if source.has_times else name for name, stamp_ns in images]
    return Photos.of(views, titles, len(source))


def _shown(view: View, longest_edge: int | None) -> View:
    """Undistorted, and no larger than asked for."""
    view = view.pinhole()
    if longest_edge is None or max(view.image.shape[:2]) <= longest_edge:
        return view
    height, width = view.image.shape[:2]
    return view.scaled(*scaled_size((height, width), longest_edge))
