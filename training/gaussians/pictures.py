"""How alike two pictures are: PSNR, and SSIM (Wang et al. 2004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, DEVIATION = 11, 1.5  # pixels, of SSIM's Gaussian window
STABLE = (0.01**2, 0.03**2)


def psnr(found: Tensor, truth: Tensor) -> Tensor:
    """Decibels of pictures (..., H, W, 3) in [0, 1], over all of their pixels."""
    return -10 * (found.clamp(0, 1) - truth).square().mean().log10()


def ssim(found: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of two pictures (H, W, 3) in [0, 1], 1 where they are the same, mean of all pixels."""
    x, y = found.movedim(-1, 0).unsqueeze(1), truth.movedim(-1, 0).unsqueeze(1)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + STABLE[0]) / (mean_x**2 + mean_y**2 + STABLE[0])
    structure = (2 * covariance + STABLE[1]) / (variance_x + variance_y + STABLE[1])
    return (light * structure).mean()


def _blurred(x: Tensor) -> Tensor:
    offset = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weight = torch.exp(-(offset**2) / (2 * DEVIATION**2))
    weight = weight / weight.sum()
    pad = WINDOW // 2
    x = F.conv2d(F.pad(x, (pad, pad, 0, 0), mode="reflect"), weight.view(1, 1, 1, -1))
    return F.conv2d(F.pad(x, (0, 0, pad, pad), mode="reflect"), weight.view(1, 1, -1, 1))
