"""A model that needs no weights: it sees a wall."""

from __future__ import annotations

import torch

from dvlt_ros.backends import model_card
from dvlt_ros.backends.protocol import MultiViewPrediction
from dvlt_ros.geometry import transform_points, unproject


class Wall:
    """A model that sees a wall two units away, from cameras 0.07 apart in the order it gets them."""

    card = model_card("dvlt")
    device = torch.device("cpu")
    image_size, min_steps, max_steps = 56, 2, 8

    def __init__(self):
        self.asked = []

    def predict(self, images, num_steps=None):
        self.asked.append((images, num_steps))
        count, _, height, width = images.shape
        depth = torch.full((count, height, width), 2.0)
        intrinsics = torch.tensor([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]).expand(count, 3, 3)
        poses = torch.eye(4).repeat(count, 1, 1)
        poses[:, 0, 3] = 0.07 * torch.arange(count)
        confidence = 1 + torch.rand(count, height, width, generator=torch.Generator().manual_seed(0))
        return MultiViewPrediction(
            depth, confidence, intrinsics, poses, transform_points(poses, unproject(depth, intrinsics))
        )
