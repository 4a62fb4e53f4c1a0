"""Photographs that dress surfaces: read from folders that the user names, never part of the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.errors import InputError
from dvlt_ros.imaging.files import read_pixels

from .noise import fract

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tga"}


def load_atlas(folders: Sequence[str | Path], size: int = 256, limit: int = 1024, seed: int = 0) -> Tensor:
    """Square crops of the images below ``folders`` as uint8 (N, 3, size, size), RGB; N <= limit.

    Small, unreadable and single-coloured images are passed over; the choice depends on ``seed`` alone.
    """
    paths = sorted(p for f in folders for p in Path(f).rglob("*") if p.suffix.lower() in _SUFFIXES)
    rng = np.random.default_rng(seed)
    crops: list[np.ndarray] = []
    for i in rng.permutation(len(paths)):
        if len(crops) == limit:
            break
        image = read_pixels(paths[i], cv2.IMREAD_COLOR)
        if image is None or min(image.shape[:2]) < size // 2 or float(image.std()) < 6.0:
            continue
        crops.append(_square(image, size, rng))
    if not crops:
        names = ", ".join(str(f) for f in folders)
        raise InputError(f"no usable image ({', '.join(sorted(_SUFFIXES))}; at least {size // 2} pixels) below {names}")
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def _square(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    side = int(min(image.shape[:2]) * rng.uniform(0.6, 1.0))
    top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
    crop = cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)


class Photos:
    """An atlas in linear light with its mip levels in one table."""

    def __init__(self, atlas: Tensor) -> None:
        """``atlas`` uint8 (N, 3, size, size), size a power of two."""
        count, channels, height, width = atlas.shape
        if atlas.dtype != torch.uint8 or channels != 3 or height != width or height & (height - 1):
            raise InputError(
                f"an atlas is uint8 (N, 3, size, size) with size a power of two, got {atlas.dtype} {tuple(atlas.shape)}"
            )
        level = (atlas.float() / 255.0) ** 2.2
        levels, self.offsets, start = [], [], 0
        while level.shape[-1] >= 1:
            levels.append(level.permute(0, 2, 3, 1).reshape(-1, 3))
            self.offsets.append(start)
            start += len(levels[-1])
            if level.shape[-1] == 1:
                break
            level = F.avg_pool2d(level, 2)
        self.count, self.size = count, height
        self.texels = torch.cat(levels)  # (all texels of all levels, 3)

    def sample(self, index: Tensor, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
        """Colours (..., 3) of photographs ``index`` (...) at x, y (one period per photograph), bilinear.

        ``footprint`` (...) is the share of the photograph that a pixel covers; it chooses the mip level.
        """
        offsets = torch.tensor(self.offsets, device=x.device)
        level = torch.log2((footprint * self.size).clamp(min=1.0)).round().long().clamp(max=len(self.offsets) - 1)
        side = torch.full_like(level, self.size) >> level
        base = offsets[level] + index * side * side
        px, py = fract(x) * side - 0.5, fract(y) * side - 0.5
        fx, fy = torch.floor(px), torch.floor(py)
        x0, y0 = fx.long() % side, fy.long() % side
        x1, y1 = (x0 + 1) % side, (y0 + 1) % side
        tx, ty = (px - fx).unsqueeze(-1), (py - fy).unsqueeze(-1)
        top = torch.lerp(self.texels[base + y0 * side + x0], self.texels[base + y0 * side + x1], tx)
        low = torch.lerp(self.texels[base + y1 * side + x0], self.texels[base + y1 * side + x1], tx)
        return torch.lerp(top, low, ty)
