"""The image encoder: DINOv2 with or without registers (arXiv 2309.16588), without its last affine norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import PATCH_SIZE, POSITION_GRID, DvltConfig
from .layers import Block

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class PatchEmbed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> patch features (N, h*w, C)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DvltConfig) -> None:
        super().__init__()
        dim, self.antialias = config.embed_dim, config.encoder_antialias
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + POSITION_GRID**2, dim))
        registers = torch.zeros(1, config.encoder_registers, dim)
        self.register_tokens = nn.Parameter(registers) if config.encoder_registers else None
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of DINOv2's pre-training: stored, never used
        self.patch_embed = PatchEmbed(dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.num_heads, qk_norm=False, layer_scale=1.0, norm_eps=1e-6)
            for _ in range(config.num_encoder_blocks)
        )
        self.taps = config.match_taps
        self.descriptors = nn.Linear(len(self.taps) * dim, config.match_channels) if self.taps else None
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        if self.register_tokens is not None:
            nn.init.normal_(self.register_tokens, std=1e-6)

    @property
    def num_special(self) -> int:
        """Tokens before the patches: the class token and the registers."""
        return 1 + (0 if self.register_tokens is None else self.register_tokens.shape[1])

    def forward(self, images: Tensor) -> Tensor:
        return self.readout(self.frozen(images))

    def frozen(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> (N, h*w, (taps + 1) * C): what does not change while the blocks do not.

        Normalised patch tokens of the tapped blocks, then of the last one.
        """
        x, parts = self.enter((images - self.mean) / self.std), []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.taps:
                parts.append(self.patches(x))
        return torch.cat([*parts, self.patches(x)], dim=-1)

    def patches(self, x: Tensor) -> Tensor:
        """All tokens of a block -> those of patches, through the last norm."""
        return F.layer_norm(x[:, self.num_special :], x.shape[-1:], eps=1e-5)

    def readout(self, frozen: Tensor) -> Tensor:
        """Features (N, h*w, C), followed by descriptors of unit length if the network matches by them."""
        if self.descriptors is None:
            return frozen
        dim = self.cls_token.shape[-1]
        descriptors = F.normalize(self.descriptors(frozen[..., :-dim]), dim=-1)
        return torch.cat([frozen[..., -dim:], descriptors], dim=-1)

    def enter(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, H, W), normalised already -> all tokens (N, special + h*w, C) before the first block."""
        patches = self.patch_embed(pixels)
        position = self.position_embedding(*pixels.shape[-2:])
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + position
        if self.register_tokens is None:
            return x
        registers = self.register_tokens.expand(x.shape[0], -1, -1)
        return torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)

    def position_embedding(self, height: int, width: int) -> Tensor:
        """(1, 1 + h*w, C) for an image of height x width pixels; 518 x 518 uses the stored one as it is."""
        grid = (height // PATCH_SIZE, width // PATCH_SIZE)
        if grid == (POSITION_GRID, POSITION_GRID):
            return self.pos_embed
        stored = self.pos_embed[:, 1:].float().transpose(1, 2).unflatten(-1, (POSITION_GRID, POSITION_GRID))
        patches = F.interpolate(stored, size=grid, mode="bicubic", antialias=self.antialias)
        return torch.cat([self.pos_embed[:, :1], patches.flatten(2).transpose(1, 2).to(self.pos_embed)], dim=1)
