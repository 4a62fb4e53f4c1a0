"""Masks of a folder's images, as segmentation tools and photogrammetry keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from ..imaging.files import decode_pixels
from ..imaging.masks import mask_for
from ..imaging.view import View
from .border import border

MASKS = "masks"  # a folder


class Masks:
    """Files of a folder ``masks`` in the folder of the images or beside it: ``0001.png`` or ``0001.jpg.png`` of
    ``0001.jpg``, not 0 where masked. An image without a mask is used as it is."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError: the folder cannot be read."""
        found = [path for path in (folder / MASKS, folder.parent / MASKS) if path.is_dir() and path != folder]
        self._paths: dict[str, Path] = {}
        if found:
            with border(found[0], "cannot be read"):
                self._paths = {path.stem: path for path in sorted(found[0].iterdir()) if path.is_file()}
        self.remark = f"{len(self._paths)} masks in {found[0]}" if found else ""

    def of(self, name: str, view: View) -> np.ndarray | None:
        """(H, W) bool of the undistorted image, True where it is masked; None: it has no mask.

        Args:
            name: of the image's file.
            view: the image upright, as the mask is.

        Raises:
            DataError: the mask cannot be read, or is of another size.
        """
        path = self._paths.get(name) or self._paths.get(Path(name).stem)
        if path is None:
            return None
        try:
            with border("it", "cannot be read"):
                mask = decode_pixels(np.fromfile(path, np.uint8))
        except DataError as error:
            raise DataError(f"its mask {path.name}: {error}") from error
        return mask_for(mask, (view.image.shape[0], view.image.shape[1]), view.lens)
