"""The convolutional depth head for inference, with channels-last tensors (N, h, w, C).

The contribution of the UV channels to a layer is the same for every picture of a size, so it is computed once per size;
without them the layers have even numbers of channels, which processors handle faster.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.config import PATCH_SIZE
from ..model.decoders import ConvDepthDecoder, ResidualConv, uv_grid
from .linear import Precision, activation_dtype, plain

Grid = tuple[int, int]  # patches (rows, columns)


def channels_first(x: Tensor) -> Tensor:
    """(N, h, w, C) as (N, C, h, w) without a copy: PyTorch's channels-last memory format."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """(N, C, h, w) as (N, h, w, C) without a copy."""
    return x.permute(0, 2, 3, 1)


class FastConv:
    """3x3 convolution with replicated borders over the first ``channels`` input channels of a layer."""

    def __init__(self, layer: nn.Conv2d, channels: int, dtype: torch.dtype) -> None:
        weight = layer.weight.detach()[:, :channels]
        self.weight = weight.to(dtype, memory_format=torch.channels_last, copy=True)
        self.bias = cast("Tensor", layer.bias).detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        padded = F.pad(x[None], (0, 0, 1, 1, 1, 1), mode="replicate")[0]  # as a volume, which keeps the memory format
        return channels_last(F.conv2d(channels_first(padded), self.weight, self.bias))


class FastResidual:
    """A `ResidualConv`, channels-last."""

    def __init__(self, block: ResidualConv, dtype: torch.dtype) -> None:
        self.norm1, first = cast("tuple[nn.GroupNorm, nn.Conv2d]", (block.layers[0], block.layers[2]))
        self.norm2, second = cast("tuple[nn.GroupNorm, nn.Conv2d]", (block.layers[3], block.layers[5]))
        self.conv1 = FastConv(first, first.in_channels, dtype)
        self.conv2 = FastConv(second, second.in_channels, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self.conv1(group_norm(self.norm1, x).relu_())
        return self.conv2(group_norm(self.norm2, hidden).relu_()).add_(x)


class FastStage:
    """Doubles the rows and columns: a linear layer from every pixel to 2 x 2 pixels, then convolutions."""

    def __init__(self, stage: nn.Sequential, dtype: torch.dtype) -> None:
        first, *residuals = cast("tuple[nn.Sequential, ResidualConv, ResidualConv]", tuple(stage))
        self.deconvolution, convolution = cast("tuple[nn.ConvTranspose2d, nn.Conv2d]", tuple(first))
        channels = self.deconvolution.in_channels - 2
        weight, bias = self.deconvolution.weight.detach()[:channels], cast("Tensor", self.deconvolution.bias).detach()
        self.linear = plain(weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(4), dtype)
        self.convolution = FastConv(convolution, convolution.in_channels, dtype)
        self.residuals = [FastResidual(block, dtype) for block in residuals]

    def uv_part(self, uv: Tensor) -> Tensor:
        """Contribution (h, w, 4 * channels) of the UV channels (1, 2, h, w) after `linear`."""
        weight = self.deconvolution.weight.detach()[-2:]
        return channels_last(uv) @ weight.permute(0, 2, 3, 1).flatten(1)

    def __call__(self, x: Tensor, uv_part: Tensor) -> Tensor:
        pixels = self.linear(x).add_(uv_part)  # (N, h, w, 4 * channels)
        count, height, width = pixels.shape[:3]
        pixels = pixels.unflatten(-1, (2, 2, -1)).transpose(2, 3).reshape(count, 2 * height, 2 * width, -1)
        x = self.convolution(pixels)
        for residual in self.residuals:
            x = residual(x)
        return x


class FastConvHead:
    """Patches (N, h*w, C_d) -> raw depth and raw confidence (N, H, W, 2), float32."""

    def __init__(self, decoder: ConvDepthDecoder, precision: Precision) -> None:
        self.dtype = activation_dtype(precision)
        stages = cast("list[nn.Sequential]", decoder.upsample_blocks)
        self.stages = [FastStage(stage, self.dtype) for stage in stages]
        self.wide, last = cast("tuple[nn.Conv2d, nn.Conv2d]", (decoder.output_block[0], decoder.output_block[2]))
        self.hidden = FastConv(self.wide, self.wide.in_channels - 2, self.dtype)
        self.last = plain(last.weight.detach().flatten(1), cast("Tensor", last.bias).detach(), torch.float32)

    def uv_parts(self, grid: Grid) -> list[Tensor]:
        """Contributions of the UV channels to each stage and to the layer after them, for pictures of this size."""
        height, width = pixels(grid)
        parts = []
        for i, stage in enumerate(self.stages):
            parts.append(stage.uv_part(self._uv((grid[0] << i, grid[1] << i), width / height)))
        padded = F.pad(self._uv((height, width), width / height), (1, 1, 1, 1), mode="replicate")
        parts.append(channels_last(F.conv2d(padded, self.wide.weight.detach()[:, -2:])).contiguous())
        return [part.to(self.dtype) for part in parts]

    def __call__(self, patches: Tensor, grid: Grid, uv_parts: list[Tensor]) -> Tensor:
        x = patches.unflatten(1, grid).to(self.dtype)
        for stage, part in zip(self.stages, uv_parts[:-1], strict=True):
            x = stage(x, part)
        x = channels_last(F.interpolate(channels_first(x), size=pixels(grid), mode="bilinear", align_corners=False))
        return self.last(self.hidden(x).add_(uv_parts[-1]).relu_())

    def _uv(self, size: tuple[int, int], aspect: float) -> Tensor:
        return uv_grid(self.wide.weight.detach().new_empty(1, 1, *size), aspect)


def group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Of x (N, h, w, C), in its type."""
    weight, bias = norm.weight.detach().to(x.dtype), norm.bias.detach().to(x.dtype)
    return channels_last(F.group_norm(channels_first(x), norm.num_groups, weight, bias, norm.eps))


def pixels(grid: Grid) -> tuple[int, int]:
    """(height, width) of a picture with this grid of patches."""
    return grid[0] * PATCH_SIZE, grid[1] * PATCH_SIZE
