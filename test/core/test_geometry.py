import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvlt_ros.errors import InputError
from dvlt_ros.geometry import (
    every,
    invert_pose,
    matrix_from_quaternion,
    pixel_axes,
    pixel_centers,
    pixel_grid,
    pose_matrix,
    project,
    quaternion_from_matrix,
    rotate,
    rotation_angle,
    transform_points,
    unproject,
)
from dvlt_ros.types import Cameras


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return matrix_from_quaternion(torch.randn(count, 4, generator=generator, dtype=torch.float64))


def test_pixel_zero_is_centred_at_one_half():
    grid = pixel_centers(3, 5, like=torch.zeros(1))
    assert grid.shape == (3, 5, 2)
    assert grid[0, 0].tolist() == [0.5, 0.5]
    assert grid[2, 4].tolist() == [4.5, 2.5]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12))
def test_a_thinned_maps_pixels_are_where_they_were(height, width, stride):
    full = pixel_centers(height, width, like=torch.zeros(1, dtype=torch.float64)).numpy()
    np.testing.assert_array_equal(pixel_grid((height, width), stride), full[every(stride)])
    u, v = pixel_axes((height, width))
    np.testing.assert_array_equal(u, full[0, :, 0])
    np.testing.assert_array_equal(v, full[:, 0, 1])


def test_unproject_then_project_is_identity():
    generator = torch.Generator().manual_seed(0)
    depth = 0.5 + torch.rand(2, 3, 8, 10, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([[90.0, 0, 5.2], [0, 95, 3.9], [0, 0, 1]], dtype=torch.float64).expand(2, 3, 3, 3)
    points = unproject(depth, intrinsics)
    torch.testing.assert_close(points[..., 2], depth)
    torch.testing.assert_close(project(points, intrinsics), pixel_centers(8, 10, depth).expand(2, 3, 8, 10, 2))


def test_transform_then_inverse_is_identity_for_points_and_maps():
    poses = pose_matrix(random_rotations(4), torch.randn(4, 3, dtype=torch.float64))
    for points in (torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 6, 7, 3, dtype=torch.float64)):
        there = transform_points(poses, points)
        torch.testing.assert_close(transform_points(invert_pose(poses), there), points)


def test_transform_of_a_point_is_rotation_plus_translation():
    pose = pose_matrix(random_rotations(1)[0], torch.tensor([1.0, 2, 3], dtype=torch.float64))
    point = torch.tensor([0.3, -0.4, 0.5], dtype=torch.float64)
    torch.testing.assert_close(transform_points(pose, point), pose[:3, :3] @ point + pose[:3, 3])
    torch.testing.assert_close(rotate(pose[:3, :3], point), pose[:3, :3] @ point)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 1e-3))
def test_quaternions_and_matrices_agree_both_ways(components):
    rotation = matrix_from_quaternion(torch.tensor(components, dtype=torch.float64))
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    quaternion = quaternion_from_matrix(rotation)
    assert quaternion[3] >= 0
    torch.testing.assert_close(matrix_from_quaternion(quaternion), rotation)


@pytest.mark.parametrize("axis", range(3))
def test_a_half_turn_keeps_its_axis(axis):
    rotation = -torch.eye(3, dtype=torch.float64)
    rotation[axis, axis] = 1
    assert quaternion_from_matrix(rotation)[axis].abs() == pytest.approx(1)
    assert rotation_angle(rotation) == pytest.approx(math.pi)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3, 3.0, math.pi - 1e-6])
def test_rotation_angle_is_accurate_everywhere(angle):
    quaternion = torch.tensor([0, math.sin(angle / 2), 0, math.cos(angle / 2)], dtype=torch.float64)
    assert rotation_angle(matrix_from_quaternion(quaternion)).item() == pytest.approx(angle, abs=1e-12)


def test_cameras_refuse_unequal_leading_dimensions():
    with pytest.raises(InputError, match=r"\(2, 4, 4\) and \(3, 3, 3\)"):
        Cameras(torch.eye(4).expand(2, 4, 4), torch.eye(3).expand(3, 3, 3))
