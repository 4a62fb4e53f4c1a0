"""The decoders for inference: channels-last convolutions, and rays in the memory order of the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ..model.config import PATCH_SIZE
from ..model.decoders import ConvDepthDecoder, Decoder, LinearDepthDecoder, RayDecoder
from ..model.layers import Block, Rope
from .block import FastBlock, Recipe
from .depth_head import FastConvHead, Grid
from .kernels import Norm
from .linear import folded, pack

VIEWS_AT_ONCE = 8  # in the depth head, which has the largest activations


class FastFront:
    """The transformer blocks with which both decoders begin."""

    def __init__(self, decoder: Decoder, recipe: Recipe) -> None:
        self.proj_in = pack(*folded(decoder.proj_in), recipe.precision)
        self.blocks = [FastBlock(block, recipe) for block in cast("list[Block]", decoder.blocks)]
        self.norm = Norm.of(decoder.norm, torch.float32)

    def tables(self, rope: Rope) -> list[Tensor | None]:
        """One per block."""
        return [block.table(rope) for block in self.blocks]

    def __call__(self, state: Tensor, tables: list[Tensor | None]) -> Tensor:
        """(N, P, C) -> (N, P, C_d), before the norm."""
        x = self.proj_in(state).float()
        for block, table in zip(self.blocks, tables, strict=True):
            x = block(x, table, turns=True)
        return x


class PixelHead:
    """Float32 values of all pixels of a patch by one linear layer: (N, h*w, C_d) -> (N, H, W, channels)."""

    def __init__(self, decoder: RayDecoder | LinearDepthDecoder) -> None:
        weight, bias = folded(decoder.head)
        order = torch.arange(len(bias), device=bias.device).view(-1, PATCH_SIZE**2).T.flatten()  # channels last
        self.linear = pack(weight[order], bias[order], "float32")

    def uv_parts(self, grid: Grid) -> list[Tensor]:
        """Empty: this head has no UV channels."""
        return []

    def __call__(self, patches: Tensor, grid: Grid, uv_parts: Sequence[Tensor] = ()) -> Tensor:
        values = self.linear(patches).unflatten(-1, (PATCH_SIZE, PATCH_SIZE, -1)).unflatten(1, grid)
        return values.transpose(2, 3).reshape(len(values), grid[0] * PATCH_SIZE, grid[1] * PATCH_SIZE, -1)


class FastRays(FastFront):
    def __init__(self, decoder: RayDecoder, recipe: Recipe) -> None:
        super().__init__(decoder, recipe)
        self.head = PixelHead(decoder)

    def decode(self, state: Tensor, tables: list[Tensor | None], grid: Grid) -> tuple[Tensor, Tensor]:
        """(N, P, C) -> rays (N, H, W, 6): direction, then origin; camera tokens (N, C_d) before the norm."""
        front = self(state, tables)
        return self.head(self.norm(front[:, -grid[0] * grid[1] :]), grid), front[:, 0]


class FastDepth(FastFront):
    def __init__(self, decoder: ConvDepthDecoder | LinearDepthDecoder, recipe: Recipe) -> None:
        super().__init__(decoder, recipe)
        self.head: FastConvHead | PixelHead
        if isinstance(decoder, ConvDepthDecoder):
            self.head = FastConvHead(decoder, recipe.precision)
        else:
            self.head = PixelHead(decoder)

    def decode(self, state: Tensor, tables: list[Tensor | None], grid: Grid, uv_parts: list[Tensor]) -> Tensor:
        """(N, P, C) -> raw depth and raw confidence (N, H, W, 2)."""
        patches = self.norm(self(state, tables)[:, -grid[0] * grid[1] :])
        return torch.cat([self.head(part, grid, uv_parts) for part in patches.split(VIEWS_AT_ONCE)])
