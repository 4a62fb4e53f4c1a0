"""The gauge and the unit of ground truth: the first camera's frame, the mean distance of what is seen."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dvlt_ros.geometry import invert_pose, transform_points, unproject

from ..data.types import Views

SCALE_RANGE = (1e-3, 1e3)
COUNT_EPSILON = 1e-3  # of the published mean: sum / (count + epsilon)


def mean_distance(points: Tensor, valid: Tensor) -> Tensor:
    """Mean distance (B,) of the valid points (B, S, H, W, 3) to the origin, clamped to [1e-3, 1e3].

    ``valid`` is (B, S, H, W); all views of a sample are pooled. Gradients flow through the points. A sample
    without valid points has the lower bound.
    """
    distance = torch.where(valid, points.norm(dim=-1), 0.0)
    total, count = distance.flatten(1).sum(dim=1), valid.flatten(1).sum(dim=1)
    return (total / (count + COUNT_EPSILON)).clamp(*SCALE_RANGE)


def to_first_camera(world_from_cam: Tensor) -> Tensor:
    """Poses (..., S, 4, 4) with the first camera's frame as the world; its own is exactly the identity."""
    first_from_cam = invert_pose(world_from_cam[..., :1, :, :]) @ world_from_cam
    first_from_cam[..., 0, :, :] = torch.eye(4, dtype=world_from_cam.dtype, device=world_from_cam.device)
    return first_from_cam


def normalize_views(views: Views) -> tuple[Views, Tensor]:
    """Views in the first camera's frame and in their own unit, and that unit (B,) in metres.

    The unit is the mean distance of the valid points to the first camera, or the mean distance of the
    cameras where no pixel is valid, clamped to [1e-3, 1e3]. A window whose first view has no valid pixel has
    its masks switched off: nothing ties its other views to the reference. Depth is 0 where it is not valid.
    """
    valid = views.valid & torch.isfinite(views.depth) & (views.depth > 0)
    valid = valid & valid[:, :1].any(dim=(2, 3), keepdim=True)
    depth = torch.where(valid, views.depth, 0.0)
    world_from_cam = to_first_camera(views.world_from_cam)
    points = transform_points(world_from_cam, unproject(depth, views.intrinsics))
    camera_distance = world_from_cam[..., :3, 3].norm(dim=-1).mean(dim=1).clamp(*SCALE_RANGE)
    unit = torch.where(valid.flatten(1).any(dim=1), mean_distance(points, valid), camera_distance)
    scaled = world_from_cam.clone()
    scaled[..., :3, 3] /= unit[:, None, None]
    depth = depth / unit[:, None, None, None]
    return replace(views, world_from_cam=scaled, depth=depth, valid=valid), unit
