"""The batch that every data source yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """Posed RGB-D windows: B windows of S views, with OpenCV camera axes."""

    images: Tensor  # (B, S, 3, H, W) in [0, 1]
    world_from_cam: Tensor  # (B, S, 4, 4)
    intrinsics: Tensor  # (B, S, 3, 3), pixels
    depth: Tensor  # (B, S, H, W), metres along the optical axis, 0 where invalid
    valid: Tensor  # (B, S, H, W), bool
    is_synthetic: Tensor  # (B,), bool

    def to(self, device: torch.device | str) -> Views:
        return Views(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def __getitem__(self, windows: slice) -> Views:
        return Views(*(getattr(self, name)[windows] for name in self.__dataclass_fields__))

    def select_views(self, order: Tensor) -> Views:
        """The views of these indices (S',), in this order."""
        per_view = ("images", "world_from_cam", "intrinsics", "depth", "valid")
        return replace(self, **{name: getattr(self, name)[:, order] for name in per_view})


def concatenate(parts: Sequence[Views]) -> Views:
    """Batches of equal views and sizes as one."""
    names = Views.__dataclass_fields__
    return Views(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
