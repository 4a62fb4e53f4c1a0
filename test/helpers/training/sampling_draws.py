"""Shapes, paths and samplers that tests of sampling share."""

import numpy as np
import torch

from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix
from dvlt_ros.training.config import Shapes

SHAPES = Shapes(image_size=504, views=(2, 6), images_per_step=12, tokens_per_step=None)


def rng(seed=0):
    return np.random.default_rng(seed)


def path(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.randn(length, 4, generator=generator, dtype=torch.float64)
    return pose_matrix(matrix_from_quaternion(quaternion), torch.randn(length, 3, generator=generator).double())
