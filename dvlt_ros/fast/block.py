"""A transformer block for inference: norm, rotation and softmax scale of q and k are combined in one table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.layers import Block, LayerScale, Rope
from .attention import Attention
from .kernels import Kernels, Norm
from .linear import Precision, activation_dtype, folded, pack
from .merging import Merging


@dataclass(frozen=True)
class Recipe:
    """Precision and kernels of all blocks of a model."""

    precision: Precision
    kernels: Kernels
    attention: Attention

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products' inputs."""
        return activation_dtype(self.precision)


class FastBlock:
    """A `Block` in evaluation mode, on float32 tokens."""

    def __init__(self, block: Block, recipe: Recipe) -> None:
        attention = block.attn
        self.kernels = recipe.kernels
        self.attention = recipe.attention
        self.num_heads = attention.num_heads
        self.head_dim = attention.proj.in_features // self.num_heads
        self.norm1, self.norm2 = Norm.of(block.norm1, recipe.dtype), Norm.of(block.norm2, recipe.dtype)
        self.qk_norms = [n for n in (attention.q_norm, attention.k_norm) if isinstance(n, nn.LayerNorm)]
        self.order = pair_order(self.head_dim, attention.proj.weight.device)
        self.qkv = pack(*self._qkv(attention.qkv), recipe.precision)
        self.proj = pack(*folded(attention.proj, gamma(block.ls1)), recipe.precision)
        self.fc1 = pack(*folded(block.mlp.fc1), recipe.precision)
        self.fc2 = pack(*folded(block.mlp.fc2, gamma(block.ls2)), recipe.precision)

    def table(self, rope: Rope | None) -> Tensor | None:
        """The table of `queries_and_keys`, from weights and positions; None without q/k norm."""
        if not self.qk_norms:
            return None
        parts = []
        for norm, scale in zip(self.qk_norms, (self.head_dim**-0.5, 1.0), strict=True):
            weight, bias = scale * norm.weight.detach(), (scale * norm.bias.detach())[None]
            weight = weight * self.head_dim**0.5  # a vector is divided by its length, not by its deviation
            factor = weight[None]
            partner = torch.zeros_like(weight)[None]
            offset = bias
            if rope is not None:
                sign = torch.ones_like(weight).unflatten(0, (2, 2, -1))
                sign[:, 0] = -1
                partner = rope.sin * sign.flatten() * weight.unflatten(0, (2, 2, -1)).flip(1).flatten()
                factor = rope.cos * weight
                offset = rope.rotate(bias.expand_as(rope.cos))
            parts.append(torch.stack([factor, partner, offset])[..., self.order])
        return torch.stack(parts, dim=1).unsqueeze(2).unsqueeze(2).contiguous()

    def __call__(
        self,
        x: Tensor,
        table: Tensor | None,
        turns: bool,
        scales: Tensor | None = None,
        merging: Merging | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """x (B, N, C) -> the same, or only the tokens ``rows`` (M,), which see all N; scales (n, C): s_attn, s_mlp
        and, if n is 3, s_out."""
        kernels = self.kernels
        branch = self.proj(self._attended(self.qkv(kernels.normed(self.norm1, x)), table, turns, merging, rows))
        x = x if rows is None else x.index_select(1, rows)
        x = kernels.added(x, branch, None if scales is None else scales[0])
        branch = self.fc2(F.gelu(self.fc1(kernels.normed(self.norm2, x))))
        return kernels.added_and_gated(x, branch, scales)

    def _attended(
        self, qkv: Tensor, table: Tensor | None, turns: bool, merging: Merging | None, rows: Tensor | None
    ) -> Tensor:
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, D)
        if table is None:
            q, k = qkv[:2]
        else:
            q, k = self.kernels.queries_and_keys(qkv, table, self.qk_norms[0].eps, turns)
        q = q if rows is None else q.index_select(2, rows)
        q, k, v = (q, k, qkv[2]) if merging is None else merging(q, k, qkv[2])
        return self.attention(q, k, v)[..., : self.head_dim].transpose(1, 2).flatten(2)

    def _qkv(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of q, k, v: with q/k norm, q and k are centred and in `pair_order`; else q is scaled."""
        weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        for values in (weight, bias):
            parts = values.unflatten(0, (3, self.num_heads, self.head_dim))
            if self.qk_norms:
                parts[:2] -= parts[:2].mean(dim=2, keepdim=True)
                parts[:2] = parts[:2][:, :, self.order]
            else:
                parts[0] *= self.head_dim**-0.5
        return weight, bias


def gamma(layer_scale: LayerScale | None) -> Tensor | None:
    """(C,) or None."""
    return None if layer_scale is None else layer_scale.gamma.detach()


def pair_order(head_dim: int, device: torch.device) -> Tensor:
    """Order of a head's channels in which the two channels of a rotation are half a head apart."""
    return torch.arange(head_dim, device=device).view(2, 2, -1).transpose(0, 1).flatten()
