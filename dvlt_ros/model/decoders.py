"""From the final state to rays, depth and camera encoding, each view on its own."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import PATCH_SIZE, DvltConfig
from .layers import Block, Float32Conv1x1, Float32Linear, Rope


class Decoder(nn.Module):
    """The front end that both decoders share: project, two blocks, norm."""

    def __init__(self, config: DvltConfig) -> None:
        super().__init__()
        dim = config.decoder_embed_dim
        self.head_dim = dim // config.decoder_num_heads
        self.proj_in = nn.Linear(config.embed_dim, dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.decoder_num_heads, qk_norm=True) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.proj_in.weight)
        nn.init.zeros_(self.proj_in.bias)

    def front(self, state: Tensor, rope: Rope) -> Tensor:
        """(N, P, C) -> (N, P, C_d), before the norm."""
        x = self.proj_in(state)
        for block in self.blocks:
            x = block(x, rope)
        return x

    def patches(self, front: Tensor, num_patches: int) -> Tensor:
        """Normalised tokens of the patches alone."""
        return self.norm(front[:, -num_patches:])


def pixel_shuffle(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, h*w, c*14*14) -> (N, c, H, W)."""
    return F.pixel_shuffle(patches.transpose(1, 2).unflatten(-1, grid), PATCH_SIZE)


class RayDecoder(Decoder):
    def __init__(self, config: DvltConfig) -> None:
        super().__init__(config)
        self.head = Float32Linear(config.decoder_embed_dim, 6 * PATCH_SIZE**2)

    def forward(self, state: Tensor, rope: Rope, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(N, P, C) -> rays (N, 6, H, W): direction, then origin; camera tokens (N, C_d) before the norm."""
        front = self.front(state, rope)
        rays = self.head(self.patches(front, grid[0] * grid[1]))
        return pixel_shuffle(rays, grid), front[:, 0]


class LinearDepthDecoder(Decoder):
    def __init__(self, config: DvltConfig) -> None:
        super().__init__(config)
        self.head = Float32Linear(config.decoder_embed_dim, 2 * PATCH_SIZE**2)

    def forward(self, state: Tensor, rope: Rope, grid: tuple[int, int]) -> Tensor:
        """(N, P, C) -> raw depth and raw confidence (N, 2, H, W)."""
        return pixel_shuffle(self.head(self.patches(self.front(state, rope), grid[0] * grid[1])), grid)


def conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, padding_mode="replicate")


class ResidualConv(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.ReLU(),
            conv3x3(channels, 2 * channels),
            nn.GroupNorm(2 * channels // 32, 2 * channels),
            nn.ReLU(),
            conv3x3(2 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def upsample_stage(channels_in: int, channels_out: int) -> nn.Sequential:
    deconvolution = nn.ConvTranspose2d(channels_in, channels_out, kernel_size=2, stride=2)
    with torch.no_grad():  # constant over the 2 x 2 kernel, so that no checkerboard is there to unlearn
        deconvolution.weight.copy_(deconvolution.weight[:, :, :1, :1].expand_as(deconvolution.weight))
    return nn.Sequential(
        nn.Sequential(deconvolution, conv3x3(channels_out, channels_out)),
        ResidualConv(channels_out),
        ResidualConv(channels_out),
    )


def uv_grid(x: Tensor, aspect: float) -> Tensor:
    """(N, 2, h, w) of view-plane coordinates for a feature map (N, _, h, w) of aspect W / H."""
    height, width = x.shape[-2:]
    diagonal = (1 + aspect**2) ** 0.5
    span_u = aspect / diagonal * (width - 1) / width
    span_v = 1 / diagonal * (height - 1) / height
    u = torch.linspace(-span_u, span_u, width, device=x.device)
    v = torch.linspace(-span_v, span_v, height, device=x.device)
    uv = torch.stack(torch.meshgrid(u, v, indexing="xy"))
    return uv.to(x.dtype).expand(x.shape[0], -1, -1, -1)


class ConvDepthDecoder(Decoder):
    def __init__(self, config: DvltConfig) -> None:
        super().__init__(config)
        widths = (config.decoder_embed_dim, *config.depth_head_channels)
        self.upsample_blocks = nn.ModuleList(upsample_stage(before + 2, after) for before, after in pairwise(widths))
        self.output_block = nn.Sequential(conv3x3(widths[-1] + 2, 32), nn.ReLU(), Float32Conv1x1(32, 2, 1))

    def forward(self, state: Tensor, rope: Rope, grid: tuple[int, int]) -> Tensor:
        """(N, P, C) -> raw depth and raw confidence (N, 2, H, W)."""
        height, width = grid[0] * PATCH_SIZE, grid[1] * PATCH_SIZE
        aspect = width / height
        patches = self.patches(self.front(state, rope), grid[0] * grid[1])
        x = patches.transpose(1, 2).unflatten(-1, grid)
        for stage in self.upsample_blocks:
            x = stage(torch.cat([x, uv_grid(x, aspect)], dim=1))
        x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
        hidden = self.output_block[:2](torch.cat([x, uv_grid(x, aspect)], dim=1))
        return self.output_block[2](hidden)


class CameraHead(nn.Module):
    """Camera token (N, C_d) -> translation, quaternion xyzw, vertical and horizontal field of view: (N, 9)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), Float32Linear(dim, dim), nn.ReLU(), Float32Linear(dim, dim), nn.ReLU()
        )
        self.fc_pose = Float32Linear(dim, 9)

    def forward(self, camera_token: Tensor) -> Tensor:
        pose = self.fc_pose(self.mlp(camera_token))
        return torch.cat([pose[:, :7], pose[:, 7:].relu()], dim=-1)
