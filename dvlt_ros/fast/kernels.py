"""What lies between the matrix products. On a GPU each of these can be one kernel, if there is a compiler."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Norm:
    """LayerNorm's weights; the result is what the next matrix product takes."""

    weight: Tensor
    bias: Tensor
    eps: float
    dtype: torch.dtype

    @classmethod
    def of(cls, norm: nn.LayerNorm, dtype: torch.dtype) -> Norm:
        return cls(norm.weight.detach(), norm.bias.detach(), norm.eps, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps).to(self.dtype)


def queries_and_keys(qkv: Tensor, table: Tensor, eps: float, turns: bool) -> Tensor:
    """Normalised, turned and scaled (2, B, heads, N, D) of qkv (3, B, heads, N, D), whose heads have mean 0.

    table (3, 2, 1, 1, 1 or N, D): factor, factor of the partner half a head away, offset.
    """
    qk = qkv[:2].float().contiguous()
    qk = qk.mul_((qk * qk).sum(-1, keepdim=True).add_(qk.shape[-1] * eps).rsqrt_())
    turned = torch.addcmul(table[2], qk, table[0])
    if turns:
        turned.addcmul_(qk.roll(qk.shape[-1] // 2, -1), table[1])
    return turned.to(qkv.dtype)


def added(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """float32 x + scale * branch."""
    return x + branch if scale is None else torch.addcmul(x, branch.float(), scale)


def added_and_gated(x: Tensor, branch: Tensor, scales: Tensor | None) -> Tensor:
    """`added` with s_mlp; where there is an s_out, all of it times that."""
    if scales is None:
        return x + branch
    x = torch.addcmul(x, branch.float(), scales[1])
    return x if len(scales) < 3 else x.mul_(scales[2])


@dataclass(frozen=True)
class Kernels:
    queries_and_keys: Callable[[Tensor, Tensor, float, bool], Tensor] = queries_and_keys
    added: Callable[[Tensor, Tensor, Tensor | None], Tensor] = added
    added_and_gated: Callable[[Tensor, Tensor, Tensor | None], Tensor] = added_and_gated
    normed: Callable[[Norm, Tensor], Tensor] = Norm.__call__


def kernels_for(device: torch.device) -> Kernels:
    """Fused on a GPU where a C compiler is found, which Triton's launchers need; on a CPU fusing gained nothing."""
    if device.type != "cuda" or not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return Kernels()

    def normed(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        return F.layer_norm(x, weight.shape, weight, bias, eps).to(dtype)

    fused_norm = torch.compile(normed, dynamic=True)
    return Kernels(
        torch.compile(queries_and_keys, dynamic=True),
        torch.compile(added, dynamic=True),
        torch.compile(added_and_gated, dynamic=True),
        lambda norm, x: fused_norm(x, norm.weight, norm.bias, norm.eps, norm.dtype),
    )
