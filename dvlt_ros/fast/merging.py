"""Merged keys: global attention sees squares of patches as their mean. An approximation, off by default."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..model.dvlt import NUM_SPECIAL

MORE_CHANNELS = 8  # added to a head; one is needed, but kernels are fast for multiples of 8


@dataclass(frozen=True, eq=False)
class Merging:
    """Replaces the keys and values of each square of patches by their mean; special tokens are not merged.

    A mean of n keys is weighted n times (proportional attention, arXiv 2210.09461), so equal keys give the exact
    result. The logarithm of n is an extra channel of the keys, for which the queries have a 1, because the fastest
    kernels do not accept a mask.
    """

    grid: tuple[int, int]  # patches (rows, columns)
    edge: int  # of a square, in patches
    key_channels: Tensor  # (M, MORE_CHANNELS), appended to the M keys of a view

    @classmethod
    def of(cls, grid: tuple[int, int], edge: int, device: torch.device) -> Merging:
        """For a grid of patches (rows, columns) and squares of ``edge`` by ``edge``."""
        sizes = F.avg_pool2d(torch.ones(1, *grid, device=device), edge, ceil_mode=True, divisor_override=1).flatten()
        logarithms = F.pad(sizes.log(), (NUM_SPECIAL, 0))
        return cls(grid, edge, F.pad(logarithms.unsqueeze(-1), (0, MORE_CHANNELS - 1)))

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, heads, S * P, D) each -> q with more channels, k and v (B, heads, S * M, D + MORE_CHANNELS)."""
        num_views = k.shape[-2] // (NUM_SPECIAL + self.grid[0] * self.grid[1])
        ones = F.pad(q.new_ones(1), (0, MORE_CHANNELS - 1)).expand(*q.shape[:-1], -1)
        channels = self.key_channels.to(k.dtype).repeat(num_views, 1).expand(*k.shape[:2], -1, -1)
        q = torch.cat([q, ones], dim=-1)
        k = torch.cat([self._merged(k, num_views), channels], dim=-1)
        return q, k, F.pad(self._merged(v, num_views), (0, MORE_CHANNELS))

    def _merged(self, x: Tensor, num_views: int) -> Tensor:
        views = x.unflatten(2, (num_views, -1)).flatten(0, 2)  # (B * heads * S, P, D)
        pictures = views[:, NUM_SPECIAL:].unflatten(1, self.grid).permute(0, 3, 1, 2)  # channels-last
        means = F.avg_pool2d(pictures, self.edge, ceil_mode=True, count_include_pad=False)
        merged = torch.cat([views[:, :NUM_SPECIAL], means.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
        return merged.unflatten(0, (*x.shape[:2], num_views)).flatten(2, 3)


def check_merging(edge: int) -> int:
    """Returns it. Raises ConfigError: it is not an integer of at least 1."""
    if isinstance(edge, bool) or not isinstance(edge, int) or edge < 1:
        raise ConfigError(f"merged_keys must be the edge of a square in patches, at least 1, got {edge!r}")
    return edge
