"""The operations between matrix products. On a GPU with a compiler each of them is fused into one kernel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Norm:
    """LayerNorm with its output in the type of the next matrix product."""

    weight: Tensor
    bias: Tensor
    eps: float
    dtype: torch.dtype

    @classmethod
    def of(cls, norm: nn.LayerNorm, dtype: torch.dtype) -> Norm:
        return cls(norm.weight.detach(), norm.bias.detach(), norm.eps, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps).to(self.dtype)


def queries_and_keys(qkv: Tensor, table: Tensor, eps: float, turns: bool) -> tuple[Tensor, Tensor]:
    """`turned` q and k (B, heads, N, D) of qkv (3, B, heads, N, D); table (3, 2, 1, 1, 1 or N, D)."""
    q, k = turned(qkv[:2], table, eps, turns).unbind(0)  # both at once, which is faster on a CPU
    return q, k


def turned(x: Tensor, table: Tensor, eps: float, turns: bool) -> Tensor:
    """Normalizes, rotates (RoPE) and scales x (..., N, D), whose vectors have mean 0.

    table (3, ..., 1 or N, D): factor, factor of the partner channel half a head away, offset.
    """
    values = x.float().contiguous()
    values = values.mul_((values * values).sum(-1, keepdim=True).add_(x.shape[-1] * eps).rsqrt_())
    result = torch.addcmul(table[2], values, table[0])
    if turns:
        result.addcmul_(values.roll(x.shape[-1] // 2, -1), table[1])
    return result.to(x.dtype)


def added(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """float32 x + scale * branch."""
    return x + branch if scale is None else torch.addcmul(x, branch.float(), scale)


def added_and_gated(x: Tensor, branch: Tensor, scales: Tensor | None) -> Tensor:
    """`added` with s_mlp; multiplied by s_out if ``scales`` has one."""
    if scales is None:
        return x + branch
    x = torch.addcmul(x, branch.float(), scales[1])
    return x if len(scales) < 3 else x.mul_(scales[2])


@dataclass(frozen=True)
class Kernels:
    """The functions above, plain or fused."""

    queries_and_keys: Callable[[Tensor, Tensor, float, bool], tuple[Tensor, Tensor]] = queries_and_keys
    added: Callable[[Tensor, Tensor, Tensor | None], Tensor] = added
    added_and_gated: Callable[[Tensor, Tensor, Tensor | None], Tensor] = added_and_gated
    normed: Callable[[Norm, Tensor], Tensor] = Norm.__call__


def kernels_for(device: torch.device) -> Kernels:
    """Fused on a GPU if this machine can compile them; on a CPU fused ones were not faster."""
    return fused_kernels() if device.type == "cuda" and can_build() else Kernels()


def can_build() -> bool:
    """Whether Triton can compile: it needs a C compiler and Python's headers for the launcher of every kernel."""
    compilers = (os.environ.get("CC"), "cc", "gcc", "clang")
    has_compiler = any(name and shutil.which(name) for name in compilers)
    has_headers = (Path(sysconfig.get_path("include")) / "Python.h").exists()
    return has_compiler and has_headers and importlib.util.find_spec("triton") is not None


def fused_kernels(backend: str = "inductor") -> Kernels:
    """Kernels that are compiled only a few times for all numbers of views and tokens.

    PyTorch compiles again for sizes that are 1 or equal by chance (two views beside q and k), and stops compiling after
    eight times. Therefore rows are flattened, and q and k are processed one after the other.
    """

    def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return torch.compile(function, dynamic=True, backend=backend)

    def normed_rows(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        return F.layer_norm(x, weight.shape, weight, bias, eps).to(dtype)

    norm, turn, add, add_and_gate = (compiled(f) for f in (normed_rows, turned, added, added_and_gated))

    def normed(weights: Norm, x: Tensor) -> Tensor:
        return norm(x.flatten(0, 1), weights.weight, weights.bias, weights.eps, weights.dtype).view(x.shape)

    def both_turned(qkv: Tensor, table: Tensor, eps: float, turns: bool) -> tuple[Tensor, Tensor]:
        return turn(qkv[0], table[:, 0], eps, turns), turn(qkv[1], table[:, 1], eps, turns)

    def by_rows(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        return lambda x, branch, scale: function(x.flatten(0, 1), branch.flatten(0, 1), scale).view(x.shape)

    return Kernels(both_turned, by_rows(add), by_rows(add_and_gate), normed)
