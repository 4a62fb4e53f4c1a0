"""The looped block: frame attention, then global attention, with scales that depend on the step alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import DvltConfig
from .layers import Block, Float32Linear, Rope

TIME_CHANNELS = 64


def intervals(num_steps: int, device: torch.device | None = None) -> Tensor:
    """Step i of K runs on (t_i, t_{i+1}), t = linspace(0, 1, K), the last one ending at 1: (K, 2)."""
    t = torch.linspace(0.0, 1.0, num_steps, device=device)
    return torch.stack([t, torch.cat([t[1:], t.new_ones(1)])], dim=-1)


class DepthScale(nn.Module):
    """Scales ``s_attn, s_mlp[, s_out]`` of every step from its interval, in float32 always."""

    freqs: Tensor

    def __init__(self, dim: int, num_scales: int, continuous: bool) -> None:
        super().__init__()
        self.continuous = continuous
        self.num_scales = num_scales
        half = TIME_CHANNELS // 2
        self.register_buffer("freqs", torch.exp(-math.log(10000.0) * torch.arange(half) / half))
        first = Float32Linear(TIME_CHANNELS if continuous else 2 * TIME_CHANNELS, TIME_CHANNELS)
        last = Float32Linear(TIME_CHANNELS, num_scales * dim)
        if continuous:
            nn.init.normal_(last.weight, std=1e-4)
        else:
            nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.proj = nn.Sequential(first, nn.SiLU(), last)

    def forward(self, times: Tensor) -> Tensor:
        """(K, 2) intervals -> (K, num_scales, C)."""
        if self.continuous:
            times = times[:, :1]
        phase = times.unsqueeze(-1) * self.freqs.float()
        embedding = torch.cat([phase.cos(), phase.sin()], dim=-1).flatten(1)
        return (1 + self.proj(embedding)).unflatten(-1, (self.num_scales, -1))


class SubBlock(Block):
    """One of the two halves of the looped block: attention and MLP with their own depth scales."""

    def __init__(self, config: DvltConfig) -> None:
        super().__init__(config.embed_dim, config.num_heads, qk_norm=True, layer_scale=0.01, drop_path=config.drop_path)
        self.depth_scale = None
        if config.num_scales:
            continuous = config.time_conditioning == "continuous"
            self.depth_scale = DepthScale(config.embed_dim, config.num_scales, continuous)

    def schedule(self, times: Tensor) -> list[Tensor | None]:
        return [None] * len(times) if self.depth_scale is None else list(self.depth_scale(times))


class Step(NamedTuple):
    """What one application of the looped block needs beside the state."""

    block: int  # which block's weights; 0 but for the decoupled ablation
    frame_scales: Tensor | None  # (2 or 3, C), float32
    global_scales: Tensor | None


class LoopBlock(nn.Module):
    def __init__(self, config: DvltConfig) -> None:
        super().__init__()
        self.frame_attn = SubBlock(config)
        self.global_attn = SubBlock(config)

    def forward(self, state: Tensor, rope: Rope, step: Step) -> Tensor:
        """state (B, S, P, C): attention within each view, then over all views of a scene."""
        shape = state.shape
        state = self.frame_attn(state.flatten(0, 1), rope, step.frame_scales).view(shape)
        return self.global_attn(state.flatten(1, 2), None, step.global_scales).view(shape)

    def schedule(self, num_steps: int, device: torch.device) -> list[Step]:
        """The K steps with their scales, all at once."""
        times = intervals(num_steps, device)
        scales = zip(self.frame_attn.schedule(times), self.global_attn.schedule(times), strict=True)
        return [Step(0, frame, global_) for frame, global_ in scales]
