"""Transformer parts shared by the encoder, the looped block and the decoders."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerScale(nn.Module):
    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))


class Mlp(nn.Module):
    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    """Self-attention over the tokens of each batch entry, (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.two_products = False  # training only: two batched matrix products, whose backward a CPU is faster at
        head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dim) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rope: Rope | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope.rotate(q), rope.rotate(k)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if self.two_products:
            attended = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block.

    ``layer_scale`` is the initial LayerScale, or None for a block without. ``drop_path`` drops a branch
    for a whole batch entry, in training only.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qk_norm: bool,
        layer_scale: float | None = None,
        norm_eps: float = 1e-5,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads, qk_norm)
        self.ls1 = None if layer_scale is None else LayerScale(dim, layer_scale)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim)
        self.ls2 = None if layer_scale is None else LayerScale(dim, layer_scale)

    def forward(self, x: Tensor, rope: Rope | None = None, scales: Tensor | None = None) -> Tensor:
        """x (B, N, C); scales (n, C) with n = 2: s_attn, s_mlp, or n = 3: and s_out."""
        attn_gain = self._gain(self.ls1, scales, 0)
        mlp_gain = self._gain(self.ls2, scales, 1)
        x = x + self._dropped(self.attn(self.norm1(x), rope), attn_gain)
        x = x + self._dropped(self.mlp(self.norm2(x)), mlp_gain)
        return x if scales is None or len(scales) < 3 else scales[2] * x

    @staticmethod
    def _gain(layer_scale: LayerScale | None, scales: Tensor | None, index: int) -> Tensor | None:
        if layer_scale is None:
            return None
        return layer_scale.gamma if scales is None else scales[index] * layer_scale.gamma

    def _dropped(self, branch: Tensor, gain: Tensor | None) -> Tensor:
        branch = branch if gain is None else gain * branch
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(keep).div_(keep)


class Rope:
    """2D rotary position embedding: the first half of a head turns with the patch row, the second with the column.

    Patch positions start at 1; the special tokens before the patches have position (0, 0) and do not turn.
    """

    BASE = 100.0

    def __init__(self, grid: tuple[int, int], num_special: int, head_dim: int, device: torch.device) -> None:
        rows, cols = (torch.arange(1, n + 1, device=device, dtype=torch.float32) for n in grid)
        positions = torch.cartesian_prod(rows, cols).reshape(-1, 2)
        positions = F.pad(positions, (0, 0, num_special, 0))  # (N, 2)
        half = head_dim // 2
        exponent = torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
        angles = positions.unsqueeze(-1) * self.BASE**-exponent  # (N, 2, half / 2)
        angles = torch.cat([angles, angles], dim=-1).flatten(1)  # (N, head_dim)
        self.cos, self.sin = angles.cos(), angles.sin()

    def rotate(self, x: Tensor) -> Tensor:
        """x (B, heads, N, head_dim)."""
        first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
        turned = torch.stack([-second, first], dim=-2).flatten(-3)
        return x * self.cos.to(x.dtype) + turned * self.sin.to(x.dtype)


def full_precision(x: Tensor) -> AbstractContextManager:
    """Autocast switched off where x lives, if that kind of device has it at all."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32 whatever the rest runs in."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            bias = None if self.bias is None else self.bias.float()
            return F.linear(x.float(), self.weight.float(), bias)


class Float32Conv1x1(nn.Conv2d):
    """A 1x1 convolution that computes in float32 whatever the rest runs in."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            bias = None if self.bias is None else self.bias.float()
            return F.conv2d(x.float(), self.weight.float(), bias)
