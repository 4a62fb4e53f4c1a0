"""The image encoder for inference; the patch embedding is a matrix product that includes the pixels' normalization."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ..model.config import PATCH_SIZE
from ..model.encoder import Encoder
from ..model.layers import Block
from .block import FastBlock, Recipe
from .linear import plain
from .shallow import without


class FastEncoder:
    def __init__(self, encoder: Encoder, recipe: Recipe) -> None:
        self.encoder = without(encoder, "blocks", "patch_embed")
        convolution = encoder.patch_embed.proj
        weight = convolution.weight.detach() / encoder.std
        bias = cast("Tensor", convolution.bias).detach() - (weight * encoder.mean).sum(dim=(1, 2, 3))
        self.patch_embed = plain(weight.flatten(1), bias, recipe.dtype)
        self.class_token, self.num_special = encoder.cls_token.detach(), encoder.num_special
        registers = encoder.register_tokens
        self.registers = self.class_token[:, :0] if registers is None else registers.detach()
        self.blocks = [FastBlock(block, recipe) for block in cast("list[Block]", encoder.blocks)]

    def __call__(self, images: Tensor, position: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] and position (1, 1 + h*w, C) -> patch features (N, h*w, C)."""
        patches = images.unflatten(-1, (-1, PATCH_SIZE)).unflatten(-3, (-1, PATCH_SIZE))  # (N, 3, h, 14, w, 14)
        patches = self.patch_embed(patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
        special = torch.cat([self.class_token + position[:, :1], self.registers], dim=1)
        x = torch.cat([special.expand(len(patches), -1, -1), patches + position[:, 1:]], dim=1)
        parts = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, None, turns=False)
            if number in self.encoder.taps:
                parts.append(self.encoder.patches(x))
        return self.encoder.readout(torch.cat([*parts, self.encoder.patches(x)], dim=-1))
