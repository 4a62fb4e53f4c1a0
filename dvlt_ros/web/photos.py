"""What somebody uploads, or names, as a few photos of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import DataError
from ..imaging import View
from ..mapping.data.frames import Picture
from ..mapping.data.turn import Turn
from ..sources import open_source
from ..sources.containers import IMAGE_SUFFIXES as SUFFIXES
from ..sources.folder import natural_order, read_image


@dataclass(frozen=True, eq=False)
class Photos:
    """Some of the images of an input, undistorted where the lens is known."""

    images: tuple[np.ndarray, ...]  # (H, W, 3) uint8 RGB, of any sizes
    titles: tuple[str, ...]
    total: int  # how many images the input has
    intrinsics: np.ndarray  # (S, 3, 3) float64, pixels of each image; NaN where the lens is not known

    @classmethod
    def of(cls, views: Sequence[View], titles: Sequence[str], total: int) -> Photos:
        """Of undistorted views."""
        unknown = np.full((3, 3), np.nan)
        intrinsics = [unknown if view.lens is None else view.lens.intrinsics for view in views]
        return cls(tuple(view.image for view in views), tuple(titles), total, np.stack(intrinsics))

    def __len__(self) -> int:
        return len(self.images)


class FittedPhoto(NamedTuple):
    """A photo that is as large as the others, or lies as they stand, with a black border where it is narrower."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    intrinsics: np.ndarray | None  # (3, 3), pixels; None: unknown
    inside: np.ndarray  # (H, W) uint8: 255 on the photo, 0 on the border


def fit_together(photos: Photos, longest_edge: int) -> list[FittedPhoto]:
    """All in one size, which portraits have in portrait format: the mapper turns them.

    Photos of one size stay as they are; others are scaled to ``longest_edge`` pixels first.
    """
    turns = [Turn.of("auto", image.shape[:2]) for image in photos.images]
    turned = [turn.image(image) for turn, image in zip(turns, photos.images, strict=True)]
    scaled = turned
    if len({image.shape for image in turned}) > 1:
        scaled = [View(image, None).scaled(*_scaled_size(image, longest_edge)).image for image in turned]
    height, width = (max(image.shape[axis] for image in scaled) for axis in (0, 1))
    fitted: list[FittedPhoto] = []
    for turn, photo, image, intrinsics in zip(turns, turned, scaled, photos.intrinsics, strict=True):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        border = top, height - image.shape[0] - top, left, width - image.shape[1] - left
        padded = cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        inside = cv2.copyMakeBorder(np.full(image.shape[:2], 255, np.uint8), *border, cv2.BORDER_CONSTANT, value=0)
        known = None
        if np.isfinite(intrinsics).all():
            by_y, by_x = image.shape[0] / photo.shape[0], image.shape[1] / photo.shape[1]
            moved = np.array([[by_x, 0.0, left], [0.0, by_y, top], [0.0, 0.0, 1.0]])
            known = moved @ turn.intrinsics(intrinsics, turn.restored(photo[..., 0]).shape)
        whole = turn.restored_picture(Picture(padded, known))
        fitted.append(FittedPhoto(whole.image, whole.intrinsics, turn.restored(inside)))
    return fitted


def _scaled_size(image: np.ndarray, longest_edge: int) -> tuple[int, int]:
    """(height, width), at least one pixel each."""
    height, width = image.shape[:2]
    scale = longest_edge / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


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
    views = []
    for path in chosen:
        try:
            views.append(_shown(View(read_image(path), None), longest_edge))
        except DataError as error:
            raise DataError(f"{path.name}: {error}") from error
    return Photos.of(views, [path.name for path in chosen], len(paths))


def _read_stream(path: Path, max_views: int, longest_edge: int | None) -> Photos:
    source = open_source(path)
    chosen = set(evenly(len(source), max_views))
    views, stamps_ns = [], []
    for index, image in enumerate(source):
        if index in chosen:
            views.append(_shown(image.view, longest_edge))
            stamps_ns.append(image.stamp_ns)
    if not views:
        raise DataError(f"{path.name}: none of {len(source)} images can be used; {source.refusals}")
    titles = [f"{(stamp_ns - stamps_ns[0]) * 1e-9:.1f} s" for stamp_ns in stamps_ns]
    return Photos.of(views, titles, len(source))


def _shown(view: View, longest_edge: int | None) -> View:
    """Undistorted, and no larger than asked for."""
    view = view.pinhole()
    if longest_edge is None or max(view.image.shape[:2]) <= longest_edge:
        return view
    return view.scaled(*_scaled_size(view.image, longest_edge))
