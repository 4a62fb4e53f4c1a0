"""Losses on a random sub-grid of pixels: every second or third of each row and column, with cameras to match."""

from __future__ import annotations

from dataclasses import replace

import torch

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Prediction

from ..data.types import Views


def subgrid_of_prediction(prediction: Prediction, stride: int, row: int, column: int) -> Prediction:
    """The maps at pixels (row + i * stride, column + j * stride)."""
    rows, columns = slice(row, None, stride), slice(column, None, stride)
    return replace(
        prediction,
        depth=prediction.depth[..., rows, columns],
        depth_confidence=prediction.depth_confidence[..., rows, columns],
        ray_directions=prediction.ray_directions[..., rows, columns, :],
        ray_origins=prediction.ray_origins[..., rows, columns, :],
    )


def subgrid_of_views(views: Views, stride: int, row: int, column: int) -> Views:
    """Depth and validity at the same pixels, and the camera whose pixels these are; images stay as they are.

    Pixel j of the sub-grid has its centre at j + 0.5 and is pixel column + j * stride of the image, centred at
    column + j * stride + 0.5: so u' = (u - column - 0.5) / stride + 0.5.

    Raises:
        ConfigError: a stride that does not divide the size of the images.
    """
    height, width = views.depth.shape[-2:]
    if height % stride or width % stride:  # fields of view would no longer be those of the whole image
        raise ConfigError(f"loss.pixel_stride {stride} does not divide images of {width} x {height}")
    intrinsics = views.intrinsics.clone()
    shift = torch.tensor([column, row], dtype=intrinsics.dtype, device=intrinsics.device) + 0.5
    intrinsics[..., :2, 2] = (intrinsics[..., :2, 2] - shift) / stride + 0.5
    intrinsics[..., :2, :2] /= stride
    rows, columns = slice(row, None, stride), slice(column, None, stride)
    return replace(
        views, intrinsics=intrinsics, depth=views.depth[..., rows, columns], valid=views.valid[..., rows, columns]
    )
