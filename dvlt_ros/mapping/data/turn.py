"""Images turned for the network, and what becomes of them turned back.

Between admission and publication the mapping knows turned cameras alone, cameras that are rotated about their optical
axis. So portrait and landscape views of one size are in one window, and all outputs keep the camera's own orientation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...model import PixelMapping
from ...model.images import Size

if TYPE_CHECKING:
    from .frames import Picture

ImageRotation = Literal["auto", 0, 90, 180, 270]

QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # clockwise in an image: x -> y


@dataclass(frozen=True)
class Turn:
    """Rotation of images by ``rotation`` degrees clockwise, and of cameras and pixel coordinates with them."""

    rotation: Literal[0, 90, 180, 270] = 0

    @classmethod
    def of(cls, rotation: ImageRotation, size: Size) -> Turn:
        """For images of a size (height, width); auto: those in portrait format lie on their side."""
        if rotation != "auto":
            return cls(rotation)
        return PORTRAIT if size[0] > size[1] else UNTURNED

    @property
    def turned_from_cam(self) -> np.ndarray:
        """(3, 3) from the camera's axes to those of the turned camera."""
        return np.linalg.matrix_power(QUARTER_TURN, self._turns)

    def image(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, ...) turned, contiguous."""
        return np.ascontiguousarray(np.rot90(image, -self._turns))

    def picture(self, picture: Picture) -> Picture:
        """The picture turned, with its intrinsics."""
        if not self._turns:
            return picture
        size = picture.image.shape[:2]
        known = None if picture.intrinsics is None else self.intrinsics(picture.intrinsics, size)
        inside = None if picture.inside is None else self.image(picture.inside)
        masked = None if picture.masked is None else self.image(picture.masked)
        return replace(picture, image=self.image(picture.image), intrinsics=known, inside=inside, masked=masked)

    def restored_picture(self, picture: Picture) -> Picture:
        """A turned picture as the camera took it."""
        if not self._turns:
            return picture
        image = np.ascontiguousarray(np.rot90(picture.image, self._turns))
        size = image.shape[:2]
        known = None if picture.intrinsics is None else self.restored_intrinsics(picture.intrinsics, size)
        inside = None if picture.inside is None else self.restored(picture.inside)
        masked = None if picture.masked is None else self.restored(picture.masked)
        return replace(picture, image=image, intrinsics=known, inside=inside, masked=masked)

    def restored_poses(self, target_from_turned: np.ndarray) -> np.ndarray:
        """Poses (..., 4, 4) of turned cameras -> those of the cameras themselves."""
        poses = target_from_turned.copy()
        poses[..., :3, :3] = poses[..., :3, :3] @ self.turned_from_cam
        return poses

    def restored(self, maps: np.ndarray) -> np.ndarray:
        """Maps (..., h, w) of turned images, rotated back to the camera's orientation, contiguous."""
        return np.ascontiguousarray(np.rot90(maps, self._turns, axes=(-2, -1)))

    def intrinsics(self, intrinsics: np.ndarray, size: Size) -> np.ndarray:
        """Intrinsics (..., 3, 3) of images of ``size`` (height, width) -> those of the turned images."""
        return self._pixels(size) @ intrinsics @ self.turned_from_cam.T

    def restored_intrinsics(self, intrinsics: np.ndarray, size: Size) -> np.ndarray:
        """Intrinsics (..., 3, 3) of turned images -> those of the camera's own images of ``size``."""
        return np.linalg.inv(self._pixels(size)) @ intrinsics @ self.turned_from_cam

    def restored_mapping(self, mapping: PixelMapping) -> PixelMapping:
        """A mapping between turned pixels as one between the camera's own pixels."""
        if not self._turns:
            return mapping
        swap = self._turns % 2
        original = mapping.original_size[::-1] if swap else mapping.original_size
        network = mapping.network_size[::-1] if swap else mapping.network_size
        (sx, sy), (ox, oy) = mapping.scale, mapping.offset
        turned = np.array([[sx, 0, ox], [0, sy, oy], [0, 0, 1]])
        restored = np.linalg.inv(self._pixels(network)) @ turned @ self._pixels(original)
        scale, offset = (restored[0, 0], restored[1, 1]), (restored[0, 2], restored[1, 2])
        return PixelMapping(original, network, scale, offset)

    @property
    def _turns(self) -> int:
        return self.rotation // 90

    def _pixels(self, size: Size) -> np.ndarray:
        """(3, 3) from pixel coordinates of images of ``size`` to those of the turned images."""
        matrix = np.eye(3)
        height, width = size
        for _ in range(self._turns):
            matrix = np.array([[0.0, -1.0, height], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
            height, width = width, height
        return matrix


UNTURNED = Turn()
PORTRAIT = Turn(270)  # as the sensor of a phone lies that is held upright
