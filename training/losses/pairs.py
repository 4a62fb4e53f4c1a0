"""How the cameras of a window stand to each other, for all pairs of views. Not one of the published losses."""

from __future__ import annotations

import torch
from torch import Tensor

from dvlt_ros.geometry import matrix_from_quaternion


def relative_poses(encoding: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (B, S, S, 3, 3) and translations (B, S, S, 3) of view j in the camera frame of view i.

    ``encoding`` (B, S, 9) as in `dvlt_ros.cameras.pose_encoding_from_cameras`.
    """
    rotation = matrix_from_quaternion(encoding[..., 3:7])
    to_first = rotation.transpose(-1, -2).unsqueeze(2)  # (B, S, 1, 3, 3)
    ways = encoding[:, None, :, :3] - encoding[:, :, None, :3]
    return to_first @ rotation.unsqueeze(1), (to_first @ ways.unsqueeze(-1)).squeeze(-1)


def pair_errors(found: Tensor, truth: Tensor) -> Tensor:
    """(B, S, S): mean absolute error of the relative translation and of the relative rotation matrix, added."""
    pairs = zip(relative_poses(found), relative_poses(truth), strict=True)
    return torch.stack([(ours - theirs).abs().flatten(3).mean(dim=-1) for ours, theirs in pairs]).sum(dim=0)
