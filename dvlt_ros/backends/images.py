"""Images of any size for a model whose patches have any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..errors import InputError
from ..model import PixelMapping, PreparedImages, prepare_images
from ..model.config import PATCH_SIZE
from ..model.images import Image


def prepare_for(
    patch_size: int, images: Sequence[Image], image_size: int, device: torch.device | str | None = None
) -> PreparedImages:
    """As `prepare_images`, to multiples of ``patch_size``: what is beyond them is cropped, the same on both sides.

    Raises:
        InputError: as `prepare_images`, or less than one patch is left.
    """
    prepared = prepare_images(images, PATCH_SIZE * math.ceil(image_size / PATCH_SIZE), device=device)
    height, width = prepared.images.shape[-2:]
    cropped = height - height % patch_size, width - width % patch_size
    if 0 in cropped:
        raise InputError(f"{height} x {width} pixels are less than one patch of {patch_size}")
    top, left = (height - cropped[0]) // 2, (width - cropped[1]) // 2
    rows, columns = slice(top, top + cropped[0]), slice(left, left + cropped[1])

    def shifted(mapping: PixelMapping) -> PixelMapping:
        offset = mapping.offset[0] - left, mapping.offset[1] - top
        return replace(mapping, network_size=cropped, offset=offset)

    return PreparedImages(
        prepared.images[..., rows, columns],
        prepared.valid[..., rows, columns],
        tuple(shifted(mapping) for mapping in prepared.mappings),
    )
