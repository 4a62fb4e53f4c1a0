"""An image together with the lens that took it: whatever moves the pixels moves the camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import DataError
from ..lens import Lens, rectification


@dataclass(frozen=True, eq=False)
class View:
    """Pixels (H, W, 3) with their lens, None where it is not known."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    lens: Lens | None

    def __post_init__(self) -> None:
        if self.lens is not None and self.image.shape[:2] != self.lens.size:
            got, wanted = (f"{width} x {height}" for height, width in (self.image.shape[:2], self.lens.size))
            raise DataError(f"it is {got}, the camera of {self.lens.source} has {wanted}")

    def turned(self, quarters: int) -> View:
        """By so many quarter turns clockwise."""
        image = np.ascontiguousarray(np.rot90(self.image, -quarters))
        return View(image, None if self.lens is None else self.lens.turned(quarters))

    def mirrored(self) -> View:
        """Left and right change places."""
        image = np.ascontiguousarray(self.image[:, ::-1])
        return View(image, None if self.lens is None else self.lens.mirrored())

    def oriented(self, orientation: int) -> View:
        """Upright, by EXIF's orientation (1 to 8) of the stored pixels."""
        mirrored, quarters = ORIENTATIONS[orientation]
        view = self.mirrored() if mirrored else self
        return view.turned(quarters) if quarters else view

    def cropped(self, top: int, left: int, height: int, width: int) -> View:
        """Raises DataError: a part that is not within the image."""
        if min(top, left) < 0 or min(height, width) < 1:
            raise DataError(f"no part of an image: {width} x {height} from ({left}, {top})")
        if top + height > self.image.shape[0] or left + width > self.image.shape[1]:
            size = f"{self.image.shape[1]} x {self.image.shape[0]}"
            raise DataError(f"{width} x {height} from ({left}, {top}) is beyond an image of {size}")
        image = np.ascontiguousarray(self.image[top : top + height, left : left + width])
        return View(image, None if self.lens is None else self.lens.cropped(top, left, height, width))

    def scaled(self, height: int, width: int) -> View:
        """To another size: averaged when smaller, linear when larger."""
        is_smaller = height * width < self.image.shape[0] * self.image.shape[1]
        method = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        image = cv2.resize(self.image, (width, height), interpolation=method)
        return View(image, None if self.lens is None else self.lens.scaled(height, width))

    def pinhole(self) -> View:
        """Undistorted, where the lens is known and distorted."""
        if self.lens is None or not self.lens.is_distorted:
            return self
        pinhole = rectification(self.lens)
        (fx, _, cx), (_, fy, cy) = pinhole.intrinsics[:2].tolist()
        return View(pinhole.image(self.image), Lens(fx, fy, cx, cy, self.lens.size, source=self.lens.source))


ORIENTATIONS: dict[int, tuple[bool, int]] = {  # EXIF: mirrored first, then quarter turns clockwise
    1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 3), 6: (False, 1), 7: (True, 1), 8: (False, 3),
}  # fmt: skip


def oriented_view(stored: np.ndarray, orientation: int, lens: Lens | None) -> View:
    """Stored pixels turned upright, with a lens that was calibrated for the stored size, else for the upright one.

    A size that fits both belongs to the stored pixels: a camera's own calibration knows no EXIF.

    Raises:
        DataError: the lens is of another size, however the image is turned.
    """
    if lens is None or stored.shape[:2] == lens.size:
        return View(stored, lens).oriented(orientation)
    upright = View(stored, None).oriented(orientation)
    if upright.image.shape[:2] == lens.size:
        return View(upright.image, lens)
    height, width = stored.shape[:2]
    turned = ", turned by its EXIF orientation" if orientation in (5, 6, 7, 8) else ""
    raise DataError(
        f"it is {width} x {height}{turned}, the camera of {lens.source} has {lens.size[1]} x {lens.size[0]}"
    )
