"""Cameras mounted sideways or upside down: images are rotated for the network, and its output is rotated back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...model import PixelMapping
from ...model.images import Size
from .config import ImageRotation

QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # clockwise in an image: x -> y


@dataclass(frozen=True)
class Upright:
    """Rotation of images by ``rotation`` degrees clockwise, and of cameras and pixel coordinates with them."""

    rotation: ImageRotation = 0

    @property
    def upright_from_cam(self) -> np.ndarray:
        """(3, 3) from the camera's axes to those of the upright camera."""
        return np.linalg.matrix_power(QUARTER_TURN, self._turns)

    def image(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, ...) upright, contiguous."""
        return np.ascontiguousarray(np.rot90(image, -self._turns))

    def restored(self, maps: np.ndarray) -> np.ndarray:
        """Maps (..., h, w) of upright images, rotated back to the camera's orientation, contiguous."""
        return np.ascontiguousarray(np.rot90(maps, self._turns, axes=(-2, -1)))

    def intrinsics(self, intrinsics: np.ndarray, size: Size) -> np.ndarray:
        """Intrinsics (..., 3, 3) of images of ``size`` (height, width) -> those of the upright images."""
        return self._pixels(size) @ intrinsics @ self.upright_from_cam.T

    def restored_intrinsics(self, intrinsics: np.ndarray, size: Size) -> np.ndarray:
        """Intrinsics (..., 3, 3) of upright images -> those of the camera's own images of ``size``."""
        return np.linalg.inv(self._pixels(size)) @ intrinsics @ self.upright_from_cam

    def restored_mapping(self, mapping: PixelMapping) -> PixelMapping:
        """A mapping between upright pixels as one between the camera's own pixels."""
        if not self._turns:
            return mapping
        swap = self._turns % 2
        original = mapping.original_size[::-1] if swap else mapping.original_size
        network = mapping.network_size[::-1] if swap else mapping.network_size
        (sx, sy), (ox, oy) = mapping.scale, mapping.offset
        upright = np.array([[sx, 0, ox], [0, sy, oy], [0, 0, 1]])
        restored = np.linalg.inv(self._pixels(network)) @ upright @ self._pixels(original)
        scale, offset = (restored[0, 0], restored[1, 1]), (restored[0, 2], restored[1, 2])
        return PixelMapping(original, network, scale, offset)

    @property
    def _turns(self) -> int:
        return self.rotation // 90

    def _pixels(self, size: Size) -> np.ndarray:
        """(3, 3) from pixel coordinates of images of ``size`` to those of the upright images."""
        matrix = np.eye(3)
        height, width = size
        for _ in range(self._turns):
            matrix = np.array([[0.0, -1.0, height], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
            height, width = width, height
        return matrix
