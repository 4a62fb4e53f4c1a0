"""Data that crosses module boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import InputError


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras with OpenCV axes (x right, y down, z forward).

    ``world_from_cam`` maps camera to world coordinates. ``intrinsics`` are in pixels, with pixel
    (0, 0) centred at (0.5, 0.5). Any leading dimensions, the same for both.
    """

    world_from_cam: Tensor  # (..., 4, 4)
    intrinsics: Tensor  # (..., 3, 3), pixels

    def __post_init__(self) -> None:
        poses, intrinsics = tuple(self.world_from_cam.shape), tuple(self.intrinsics.shape)
        if poses[-2:] != (4, 4) or intrinsics[-2:] != (3, 3) or poses[:-2] != intrinsics[:-2]:
            raise InputError(
                "Cameras need world_from_cam (..., 4, 4) and intrinsics (..., 3, 3) with equal "
                f"leading dimensions, got {poses} and {intrinsics}"
            )

    def __getitem__(self, index: Any) -> Cameras:
        return Cameras(self.world_from_cam[index], self.intrinsics[index])

    def to(self, target: torch.device | torch.dtype | str) -> Cameras:
        return Cameras(self.world_from_cam.to(target), self.intrinsics.to(target))
