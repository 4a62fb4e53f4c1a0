"""Counter-based random numbers: a window depends on its own seed, never on its batch or device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # splitmix64's increment, as signed 64-bit
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


def mix64(x: Tensor) -> Tensor:
    """The splitmix64 finaliser on int64 tensors (wrapping arithmetic); a bijection."""
    x = x + _GOLDEN
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _MIX_1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _MIX_2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


class Draw:
    """Random values (B, *shape) of B windows; the j-th value of a stream is a hash of (seed, stream, j)."""

    def __init__(self, seeds: Tensor, stream: int) -> None:
        """``seeds`` (B,) int64; ``stream`` names an independent sequence of the same seeds."""
        self._key = mix64(mix64(seeds) ^ mix64(torch.full_like(seeds, stream)))  # (B,)
        self._count = 0

    def uniform(self, *shape: int, low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
        """Float32 (B, *shape) in [low, high); the bounds broadcast."""
        size = math.prod(shape)
        counter = torch.arange(self._count, self._count + size, device=self._key.device)
        self._count += size
        bits = (mix64(self._key[:, None] ^ mix64(counter)[None]) >> 40) & 0xFFFFFF
        unit = bits.to(torch.float32) / float(1 << 24)
        return low + (high - low) * unit.reshape(len(self._key), *shape)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """(B, *shape), uniform in the logarithm; for lengths of varied scale."""
        return torch.exp(self.uniform(*shape, low=math.log(low), high=math.log(high)))

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        """(B, *shape), Gaussian by Box and Muller."""
        radius = torch.sqrt(-2.0 * torch.log(1.0 - self.uniform(*shape)))
        return std * radius * torch.cos(2 * math.pi * self.uniform(*shape))

    def integers(self, count: int, *shape: int) -> Tensor:
        """Int64 (B, *shape) in [0, count)."""
        return (self.uniform(*shape) * count).long().clamp(max=count - 1)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Bool (B, *shape), true with the given probability."""
        return self.uniform(*shape) < probability

    def choice(self, values: Tensor, *shape: int) -> Tensor:
        """Entries of ``values`` (K, ...) as (B, *shape, ...)."""
        return values.to(self._key.device)[self.integers(len(values), *shape)]
