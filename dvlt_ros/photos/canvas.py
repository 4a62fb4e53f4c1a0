"""One size for photos of several sizes: scaled to one longest edge, and centred on black where they are narrower."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..errors import DataError
from ..imaging import View
from ..sources import Source, SourceImage
from ..sources.images import Refusals

LONGEST_EDGE = 1036  # pixels that are kept of a photo; no network here takes more
Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Canvas:
    """What all photos of a scene are brought to."""

    size: Size
    edge: int  # longest of every photo on it, pixels
    stands: bool = False  # for photos in portrait format it stands, as the mapper turns those

    @classmethod
    def of(cls, sizes: Iterable[Size], longest_edge: int = LONGEST_EDGE, stands: bool = True) -> Canvas:
        """Large enough for photos of these sizes; each is scaled to the largest one's edge, if that is not longer.

        Raises:
            DataError: no photo.
        """
        known = {(min(size), max(size)) if stands else size for size in sizes}
        if not known:
            raise DataError("no photos")
        edge = min(longest_edge, max(map(max, known)))
        scaled = [scaled_size(size, edge) for size in known]
        return cls((max(height for height, _ in scaled), max(width for _, width in scaled)), edge, stands)

    def fit(self, view: View) -> tuple[View, np.ndarray | None]:
        """An undistorted photo in this size with its lens, and (H, W) bool where it is; None: everywhere."""
        height, width = view.image.shape[:2]
        size = self.size[::-1] if self.stands and height > width else self.size
        if max(height, width) != self.edge:
            view = view.scaled(*scaled_size((height, width), self.edge))
            height, width = view.image.shape[:2]
        if (height, width) == size:
            return view, None
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        inside = np.zeros(size, bool)
        inside[top : top + height, left : left + width] = True
        image = np.zeros((*size, 3), np.uint8)
        image[inside] = view.image.reshape(-1, 3)
        lens = None if view.lens is None else view.lens.cropped(-top, -left, *size)
        return View(image, lens), inside


def scaled_size(size: Size, longest_edge: int) -> Size:
    """(height, width) with this longest edge, at least one pixel each."""
    height, width = size
    scale = longest_edge / max(height, width)
    return max(1, round(scale * height)), max(1, round(scale * width))


class OnCanvas:
    """A `Source` of photos: undistorted, all of one size."""

    has_times = False

    def __init__(self, photos: Source, longest_edge: int = LONGEST_EDGE, stands: bool = True) -> None:
        """Reads every photo once for its size; ``stands`` as in `Canvas`.

        Raises:
            DataError: none can be read.
        """
        self._photos = photos
        self.remarks = photos.remarks
        sizes = [image.image.shape[:2] for image in photos]
        self.canvas = Canvas.of(((size[0], size[1]) for size in sizes), longest_edge, stands)
        self.num_usable = len(sizes)

    @property
    def refusals(self) -> Refusals:
        return self._photos.refusals

    @property
    def camera_problem(self) -> str:
        return self._photos.camera_problem

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[SourceImage]:
        for image in self._photos:
            view, inside = self.canvas.fit(image.view.pinhole())
            masked = None if image.masked is None else self._fitted(image.masked)
            yield replace(image, image=view.image, lens=view.lens, inside=inside, masked=masked)

    def _fitted(self, masked: np.ndarray) -> np.ndarray:
        """A photo's mask (H, W) bool on the canvas."""
        shown, _ = self.canvas.fit(View(np.repeat(np.uint8(255) * masked[..., None], 3, axis=2), None))
        on_canvas: np.ndarray = shown.image[..., 0] > 127
        return on_canvas
