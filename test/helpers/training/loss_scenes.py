"""Predictions and ground truth with known losses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvlt_ros.cameras import pose_encoding_from_cameras, rays_from_cameras
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix
from dvlt_ros.training.losses import LossConfig, Targets
from dvlt_ros.types import Cameras

RELATIVE = 1e-4


TERMS = {
    "total": "total",
    "point": "loss_pmap",
    "depth": "loss_depth",
    "ray": "loss_ray",
    "camera": "loss_cam",
    "point_error": "term/pmap_loss_reg",
    "depth_error": "term/depth_loss_reg",
    "depth_gradient": "term/depth_loss_grad",
    "log_confidence": "term/depth_loss_conf_regularizer",
    "translation": "term/cam_loss_T",
    "rotation": "term/cam_loss_R",
    "field_of_view": "term/cam_loss_fl",
}


@dataclass
class Leaves:
    """The network's outputs as leaves, so that each has a gradient."""

    depth: Tensor
    depth_confidence: Tensor
    rays: Tensor
    pose_encoding: Tensor

    @property
    def ray_directions(self):
        return self.rays[..., :3]

    @property
    def ray_origins(self):
        return self.rays[..., 3:]


def leaves(**values):
    return Leaves(**{name: value.clone().requires_grad_() for name, value in values.items()})


def scene(seed=0, views=2, height=14, width=16, windows=2):
    """Targets and a prediction that is exactly right."""
    generator = torch.Generator().manual_seed(seed)
    lead = (windows, views)
    quaternion = torch.tensor([0.0, 0, 0, 1]) + 0.2 * torch.randn(*lead, 4, generator=generator)
    poses = pose_matrix(matrix_from_quaternion(quaternion), torch.randn(*lead, 3, generator=generator))
    poses[:, 0] = torch.eye(4)
    intrinsics = torch.tensor([[15.0, 0, width / 2], [0, 14, height / 2], [0, 0, 1]]).expand(*lead, 3, 3)
    depth = 1 + torch.rand(*lead, height, width, generator=generator)
    cameras = Cameras(poses, intrinsics)
    valid = torch.rand(depth.shape, generator=generator) > 0.1
    targets = Targets(depth, valid, cameras, torch.ones(windows, dtype=torch.bool))
    prediction = leaves(
        depth=depth,
        depth_confidence=2 + torch.rand(depth.shape, generator=generator),
        rays=torch.cat(rays_from_cameras(cameras, height, width), dim=-1),
        pose_encoding=pose_encoding_from_cameras(cameras, height, width),
    )
    return prediction, targets


def noisy(prediction, amount=0.1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = {
        name: value.detach() + amount * torch.randn(value.shape, generator=generator)
        for name, value in vars(prediction).items()
    }
    return leaves(**noise | {"depth_confidence": prediction.depth_confidence.detach()})


def gradients(prediction):
    return {name: value.grad for name, value in vars(prediction).items() if value.grad is not None}


STAGES = [LossConfig.for_stage(1), LossConfig.for_stage(2)]
