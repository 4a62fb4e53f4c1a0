"""The trajectory that the tests of this folder evaluate and read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from walks import COUNT

from dvlt_ros.geometry import matrix_from_quaternion


@pytest.fixture
def walk():
    """Positions (N, 3) and rotations (N, 3, 3) of a smooth path of 20 m to 40 m that turns in all directions."""
    t = np.linspace(0, 4 * np.pi, COUNT)
    positions = np.stack([3 * np.cos(t), 2 * np.sin(t) + 0.1 * t, 0.5 * np.sin(2 * t)], axis=-1)
    half = np.stack([0.1 * np.sin(t), 0.1 * np.cos(t), 0.5 * np.sin(t / 2), np.ones(COUNT)], axis=-1)
    return positions, matrix_from_quaternion(torch.from_numpy(half)).numpy()
