"""What a camera adds: exposure, colour, vignetting, blur, noise, compression. Seeded per window."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import AugmentConfig
from .draw import Draw, mix64

_RADIUS = 5  # pixels, half the size of the blur kernels


def augment(images: Tensor, seeds: Tensor, config: AugmentConfig) -> Tensor:
    """Augmented display images (B, S, 3, H, W) in [0, 1]; window i changes with seed i (B,) alone."""
    views, (height, width) = images.shape[1], images.shape[-2:]
    draw = _Varied(seeds, views, config.shared)
    linear = images**2.2
    linear = _white_balance(linear, draw, config)
    linear = linear * torch.exp2(draw.symmetric(config.exposure))[..., None]
    linear = linear * _vignette(draw, config, height, width, images)
    linear = _blur(linear, draw, config)
    linear = _noise(linear, seeds, draw, config)
    display = linear.clamp(1e-5, 1.0) ** ((1 + draw.symmetric(config.gamma)) / 2.2)[..., None]
    if config.blocks:
        display = _cosine_rounding(display, draw, config.blocks)
    return display.clamp(0.0, 1.0)


class _Varied:
    """Draws (B, S, 1, 1) that one window's views share with some probability."""

    def __init__(self, seeds: Tensor, views: int, shared: float) -> None:
        self._draw, self._views = Draw(seeds, stream=7), views
        self._shared = self._draw.uniform(1) < shared

    def unit(self) -> Tensor:
        values = self._draw.uniform(self._views)
        return torch.where(self._shared, values[:, :1], values)[..., None, None]

    def symmetric(self, bound: float) -> Tensor:
        return bound * (2 * self.unit() - 1)


def _white_balance(linear: Tensor, draw: _Varied, config: AugmentConfig) -> Tensor:
    red, blue = (1 + draw.symmetric(config.white_balance) for _ in range(2))
    gains = torch.stack([red, torch.ones_like(red), blue], dim=2)  # (B, S, 3, 1, 1)
    grey = linear.mean(dim=2, keepdim=True)
    return torch.lerp(grey, linear * gains, 1 + draw.symmetric(config.saturation).unsqueeze(2)).clamp(min=0)


def _vignette(draw: _Varied, config: AugmentConfig, height: int, width: int, like: Tensor) -> Tensor:
    """Gains (B, S, 1, H, W), 1 in the middle."""
    y = torch.linspace(-1, 1, height, device=like.device)[:, None]
    x = torch.linspace(-1, 1, width, device=like.device)[None]
    return 1 - (config.vignetting * draw.unit() ** 2 * (0.5 * (x * x + y * y)))[:, :, None]


def _blur(linear: Tensor, draw: _Varied, config: AugmentConfig) -> Tensor:
    """One 11x11 kernel per view: a Gaussian smeared along a line, as focus and motion do."""
    height, width = linear.shape[-2:]
    sigma = 0.25 + config.blur * draw.unit() ** 2
    moving = draw.unit() < 0.35
    length = torch.where(moving, config.motion_blur * width * draw.unit(), 0.0) / 2
    angle = math.pi * draw.unit()
    grid = torch.arange(-_RADIUS, _RADIUS + 1, device=linear.device, dtype=linear.dtype)
    along = grid * torch.cos(angle) + grid[:, None] * torch.sin(angle)  # (B, S, 11, 11)
    across = grid[:, None] * torch.cos(angle) - grid * torch.sin(angle)
    beyond = (along.abs() - length.clamp(max=_RADIUS - 1.0)).clamp(min=0)
    kernel = torch.exp(-0.5 * (beyond**2 + across**2) / sigma**2)
    kernel = kernel / kernel.sum((-1, -2), keepdim=True)
    weight = kernel.reshape(-1, 1, *kernel.shape[-2:]).repeat_interleave(3, dim=0)
    padded = F.pad(linear.reshape(1, -1, height, width), (_RADIUS,) * 4, mode="replicate")
    return F.conv2d(padded, weight, groups=weight.shape[0]).reshape(linear.shape)


def _noise(linear: Tensor, seeds: Tensor, draw: _Varied, config: AugmentConfig) -> Tensor:
    """Shot noise (its variance grows with the signal) plus read noise, independent in every pixel."""
    shape = linear.shape[1:]
    unit = Draw(mix64(seeds), stream=8).uniform(2, *shape)
    gauss = torch.sqrt(-2 * torch.log(1 - unit[:, 0])) * torch.cos(2 * math.pi * unit[:, 1])
    strength = (config.noise * draw.unit() ** 2).unsqueeze(2)
    return linear + gauss * strength * torch.sqrt(linear.clamp(0, 1) + 0.04)


def _cosine_rounding(display: Tensor, draw: _Varied, step: float) -> Tensor:
    """Rounds the cosine coefficients of 8x8 blocks, coarser for high frequencies; a third of the draws."""
    height, width = display.shape[-2:]
    n = torch.arange(8, device=display.device, dtype=display.dtype)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    basis[0] *= math.sqrt(0.5)
    padded = F.pad(display.flatten(0, 1), (0, -width % 8, 0, -height % 8), mode="replicate")
    blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8)  # (V, 3, h, w, 8, 8)
    rounding = (
        step * (1 + n[:, None] + n) * torch.where(draw.unit() < 0.35, draw.unit(), 0.0).reshape(-1, 1, 1, 1, 1, 1)
    )
    rounding = rounding.clamp(min=1e-4)
    rounded = basis.T @ (torch.round(basis @ blocks @ basis.T / rounding) * rounding) @ basis
    merged = rounded.transpose(3, 4).reshape(padded.shape)
    return merged[..., :height, :width].reshape(display.shape)
