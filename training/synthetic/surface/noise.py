"""Hash and value noise on surfaces, filtered by the size of a pixel."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_hash(x: Tensor, y: Tensor, seed: Tensor) -> Tensor:
    """Integer cells and seeds (...), int32, to uniform floats (...) in [0, 1); wrapping arithmetic."""
    h = x * 374761393 + y * 668265263 + seed * 1442695041
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1274126177
    h = (h ^ ((h >> 15) & 0x1FFFF)) * 1103515245
    return ((h >> 8) & 0xFFFF).to(torch.float32) * (1.0 / 65536.0)


def fract(x: Tensor) -> Tensor:
    """``x - floor(x)``; unlike torch.frac in [0, 1) below zero as well."""
    return x - torch.floor(x)


def rehash(value: Tensor) -> Tensor:
    """Another uniform value from one in [0, 1), nearly independent of it."""
    return fract(value * 211.3137 + 0.137)


def value_noise(x: Tensor, y: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise (...) in [-1, 1] with period 1 between lattice values; coordinates (...)."""
    fx, fy = torch.floor(x), torch.floor(y)
    tx, ty = x - fx, y - fy
    tx, ty = tx * tx * (3 - 2 * tx), ty * ty * (3 - 2 * ty)
    ix, iy = fx.to(torch.int32), fy.to(torch.int32)
    low = torch.lerp(cell_hash(ix, iy, seed), cell_hash(ix + 1, iy, seed), tx)
    high = torch.lerp(cell_hash(ix, iy + 1, seed), cell_hash(ix + 1, iy + 1, seed), tx)
    return 2.0 * torch.lerp(low, high, ty) - 1.0


def visible(period: Tensor | float, footprint: Tensor) -> Tensor:
    """How much (...) of a signal of ``period`` metres survives pixels of ``footprint`` metres, in [0, 1]."""
    return ((period / footprint - 1.0) / 2.0).clamp(0.0, 1.0)


def step(edge: Tensor, width: Tensor) -> Tensor:
    """0 below, 1 above ``edge`` = 0, with a linear ramp of ``width`` (the pixel) in between."""
    return (edge / width + 0.5).clamp(0.0, 1.0)
