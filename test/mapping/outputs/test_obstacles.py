"""Obstacles are what stands between two heights above the ground, however the camera is mounted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from room import INTRINSICS, SIZE, WALLS, pose, room_depth

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.frames import Picture, Reconstruction
from dvlt_ros.mapping.outputs.obstacles import obstacle_points
from dvlt_ros.mapping.outputs.rendering import POINT, RenderedFrame
from dvlt_ros.model import PixelMapping

LEVEL = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])  # base_from_cam, 0.5 m up, ahead
AT_FLOOR = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, WALLS[1, 1]], [0, 0, 0, 1.0]])  # of the room's origin


def records(xyz):
    """Points (N, 3) of which each has a colour and a confidence of its own."""
    points = np.zeros(len(xyz), POINT)
    points["x"], points["y"], points["z"] = np.asarray(xyz, np.float32).T.reshape(3, -1)
    points["rgb"], points["confidence"] = np.arange(len(xyz)) + 0xFF0000, np.arange(len(xyz)) + 1.0
    return points


@pytest.fixture
def make_frame_of_the_room():
    """A frame seen from a place (4, 4) in the room."""

    def make(world_from_cam, unseen=()):
        depth = room_depth(world_from_cam)
        depth[list(unseen)] = np.nan
        picture = Picture(np.zeros((*SIZE, 3), np.uint8), None)
        mapping = PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))
        reconstruction = Reconstruction(
            1, "cam", 0, 0, picture, depth, np.full(SIZE, 2, np.float32), INTRINSICS, world_from_cam, mapping
        )
        return RenderedFrame(reconstruction, SIZE)

    return make


def test_a_level_camera_by_hand():
    """Camera 0.5 m above the ground, y down: heights 0, 0.04, 0.25, 0.5, 2, 2.1 and -0.3 m, at several distances."""
    points = records([[0, 0.5, 3], [1, 0.46, 1], [-1, 0.25, 2], [0, 0, 9], [0, -1.5, 4], [2, -1.6, 4], [0, 0.8, 2]])
    found = obstacle_points(points, LEVEL, 0.05, 2.0)
    assert found["confidence"].tolist() == [3, 4, 5]  # both limits are obstacles
    np.testing.assert_array_equal(found, points[2:5])  # as they were, in the camera's frame, colours too


def test_a_camera_that_looks_down_by_hand():
    """1 m up and pitched down by 30 degrees, its axis meets the ground 2 m ahead."""
    base_from_cam = AT_FLOOR @ pose((0, 0, 0), pitch=-np.pi / 6)
    points = records([[0, 0, 2.0], [0.5, 0, 1.0], [0, -1.0, 2.0], [0, 0.5, 1.5]])
    # heights: 1 - 2/2; 1 - 1/2; that of the first + cos 30; 1 - 1.5/2 - 0.5 cos 30
    for limits, expected in [((-0.01, 0.01), [1]), ((0.49, 0.51), [2]), ((0.86, 0.87), [3]), ((-0.19, -0.18), [4])]:
        assert obstacle_points(points, base_from_cam, *limits)["confidence"].tolist() == expected


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_what_turns_or_moves_over_the_ground_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    points = records(rng.uniform(-3, 3, (50, 3)))
    over_ground = np.eye(4)
    angle = rng.uniform(-np.pi, np.pi)
    over_ground[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    over_ground[:2, 3] = rng.normal(size=2)
    mount = AT_FLOOR @ pose((0, 0, 0), *rng.normal(size=2))
    found = obstacle_points(points, mount, 0.05, 2.0)
    np.testing.assert_array_equal(found, obstacle_points(points, over_ground @ mount, 0.05, 2.0))
    assert 0 < len(found) < len(points)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.7, -0.3), (-2.0, 0.2)])
def test_in_a_room_the_walls_are_obstacles_and_floor_and_ceiling_are_not(make_frame_of_the_room, yaw, pitch):
    world_from_cam = pose((0.5, 0.2, -1.0), yaw, pitch)
    points = make_frame_of_the_room(world_from_cam).points()
    found = obstacle_points(points, AT_FLOOR @ world_from_cam, 0.05, 2.0)
    world = np.stack([points[axis] for axis in "xyz"], -1) @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
    height = WALLS[1, 1] - world[:, 1]
    is_obstacle = (height >= 0.05) & (height <= 2.0)
    on_wall = np.abs(world[:, None, ::2] - WALLS[None, :, ::2]).min(axis=(1, 2)) < 1e-4
    assert on_wall[is_obstacle].all()
    assert (height[~is_obstacle] < 1e-4).any()  # floor is seen
    np.testing.assert_array_equal(found, points[is_obstacle])


def test_points_without_coordinates_are_no_obstacles(make_frame_of_the_room):
    world_from_cam = pose((0, 0, 0))
    frame = make_frame_of_the_room(world_from_cam, unseen=range(5, 12))
    organized = frame.points(organized=True).reshape(-1)
    assert np.isnan(organized["z"]).any()
    found = obstacle_points(organized, AT_FLOOR @ world_from_cam, -10, 10)
    assert len(found) == np.isfinite(organized["z"]).sum()
    for axis in range(3):
        broken = records([[1, 0, 2]])
        broken["xyz"[axis]] = np.nan
        assert not len(obstacle_points(broken, LEVEL, -100, 100))


def test_nothing_in_sight_is_an_empty_cloud():
    found = obstacle_points(records(np.empty((0, 3))), LEVEL, 0.05, 2.0)
    assert (found.dtype, found.shape) == (POINT, (0,))


def test_a_transform_that_is_none_is_refused_and_not_taken_for_a_free_way():
    broken = LEVEL.copy()
    broken[2, 3] = np.nan
    with pytest.raises(InputError, match="base_from_cam must be finite"):
        obstacle_points(records([[0, 0, 1]]), broken, 0.05, 2.0)
