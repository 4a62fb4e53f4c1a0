"""Where the first view sees what a patch shows, found by descriptors of the encoder, as an input of the loop.

Not part of the published model, whose loop finds out by its own attention. A small network that is trained briefly does
not, and says little of motion; told where a patch went, it does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import DvltConfig

UNIT = 4.0  # displacements are in quarters of the image width
SUMMARY = 7  # numbers per patch
START_SHARPNESS = 20.0


class Correlation(nn.Module):
    """Features with descriptors (B, S, n, C + D) -> features (B, S, n, C) that know their displacement."""

    def __init__(self, config: DvltConfig) -> None:
        super().__init__()
        self.dim = config.embed_dim
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(START_SHARPNESS)))
        self.nowhere = nn.Parameter(torch.tensor(0.5))  # similarity above which a patch counts as seen
        self.embed = nn.Linear(SUMMARY, config.embed_dim, bias=False)
        nn.init.zeros_(self.embed.weight)

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        tokens, descriptors = features.split([self.dim, features.shape[-1] - self.dim], dim=-1)
        summary = summarise(self.log_share(descriptors, descriptors[:, 0]).exp(), grid)
        return tokens + self.embed(summary).to(tokens.dtype)

    def log_share(self, descriptors: Tensor, first: Tensor) -> Tensor:
        """Descriptors (B, S, n, D) and the first view's (B, n, D) -> log probabilities (B, S, n, n + 1).

        Of a patch being seen at each patch of the first view, or, last, nowhere in it.
        """
        similarity = torch.einsum("bsnd,bmd->bsnm", descriptors.float(), first.float())
        nowhere = self.nowhere.expand(*similarity.shape[:-1], 1)
        return (self.log_sharpness.exp() * torch.cat([similarity, nowhere], dim=-1)).log_softmax(-1)


def summarise(share: Tensor, grid: tuple[int, int]) -> Tensor:
    """Probabilities (..., n, n + 1) -> (..., n, 7): displacement of the likeliest place and of all, in quarters of
    the image width; how sure, how much is nowhere, and how far the probability spreads."""
    place = places(grid, share)  # (n, 2)
    share, nowhere = share[..., :-1], share[..., -1:]
    near = share * neighbours(place, grid)[share.argmax(-1)]
    sure = near.sum(-1, keepdim=True)
    local = near @ place / sure.clamp(min=1e-6) - place
    seen = share.sum(-1, keepdim=True).clamp(min=1e-6)
    mean = share @ place / seen
    spread = (share @ place.square() / seen - mean.square()).clamp(min=0).sum(-1, keepdim=True)
    numbers = [UNIT * local, UNIT * (mean - place), sure, nowhere, UNIT * (spread + 1e-6).sqrt()]
    return torch.cat(numbers, dim=-1)


def places(grid: tuple[int, int], like: Tensor) -> Tensor:
    """Centres (n, 2) of patches in image widths: x, y."""
    rows, columns = (torch.arange(n, device=like.device, dtype=torch.float32) + 0.5 for n in grid)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1) / grid[1]


def neighbours(place: Tensor, grid: tuple[int, int]) -> Tensor:
    """(n, n): 1 for the patches next to a patch and itself."""
    return ((place[:, None] - place).abs().amax(-1) < 1.5 / grid[1]).to(place.dtype)
