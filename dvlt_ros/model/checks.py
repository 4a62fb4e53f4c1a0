"""Checks of what callers pass to the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .config import PATCH_SIZE


def check_image_shape(images: Tensor) -> None:
    """Shape and type, which cost nothing to look at; `check_images` also reads the pixels."""
    if not isinstance(images, Tensor):
        raise InputError(f"images must be a tensor (B, S, 3, H, W), got {type(images).__name__}")
    shape = tuple(images.shape)
    if len(shape) != 5:
        raise InputError(f"images must be (B, S, 3, H, W), got {len(shape)} dimensions: {shape}")
    if not images.is_floating_point():
        raise InputError(f"images must be floating point in [0, 1], got {images.dtype}; prepare_images converts")
    if shape[2] != 3:
        raise InputError(f"images must have 3 channels (RGB), got {shape[2]}: {shape}")
    if 0 in shape[:2]:
        raise InputError(f"images must hold at least one scene of at least one view, got {shape}")
    if 0 in shape[3:] or shape[3] % PATCH_SIZE or shape[4] % PATCH_SIZE:
        raise InputError(f"image height and width must be multiples of {PATCH_SIZE}, got {shape[3]} x {shape[4]}")


def check_images(images: Tensor) -> None:
    """Shape, type and content of the input; reads every pixel, and so waits for a GPU.

    A little room is left around [0, 1] for what an interpolation overshoots.
    """
    check_image_shape(images)
    low, high = (value.item() for value in images.detach().aminmax())
    if not torch.isfinite(torch.tensor([low, high])).all():
        raise InputError("images have NaN or infinite pixels")
    if low < -0.5 or high > 1.5:
        raise InputError(f"images must be in [0, 1], got values from {low:.3g} to {high:.3g}")


def checked_views(views: Sequence[int], num_views: int) -> list[int]:
    def exists(view: object) -> bool:
        return isinstance(view, int | np.integer) and not isinstance(view, bool) and 0 <= int(view) < num_views

    if not isinstance(views, Sequence) or not views or not all(exists(view) for view in views):
        raise InputError(f"views must be a sequence of indices from 0 to {num_views - 1}, got {views!r}")
    return list(views)


def require_float32(weights: Tensor) -> None:
    if weights.dtype != torch.float32:
        dtype = str(weights.dtype).removeprefix("torch.")
        raise InputError(f"weights are {dtype}; keep them float32 and use torch.autocast for speed")


def check_steps(num_steps: int) -> None:
    """Raises InputError: no number of steps."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
        raise InputError(f"num_steps must be an integer of at least 1, got {num_steps!r}")
