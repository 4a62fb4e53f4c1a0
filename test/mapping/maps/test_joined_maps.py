"""Frames, points and maps after a loop closure."""

from __future__ import annotations

import numpy as np
import pytest
from room import FRAME_NS, INTRINSICS, SIZE, picture, pose, room_depth
from submap_samples import moved_by

from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.frames import Cloud, Reconstruction
from dvlt_ros.mapping.maps.builder import MAX_KEPT, MapBuilder
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.maps.map_part import STILL, MapPart
from dvlt_ros.model import PixelMapping

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


def test_submaps_and_poses_move_with_the_submap_before_them():
    correction = Correction(5, np.array([3, 7]), np.array([1, 1]), stacked([moved_by(1.0), moved_by(2.0, scale=2.0)]))
    moved = correction.matrices(1, np.array([2, 3, 6, 9])) @ np.ones(4)
    np.testing.assert_allclose(moved[:, 0], [2, 2, 2, 4])
    np.testing.assert_array_equal(correction.matrices(4, np.zeros(2, int)), [np.eye(4)] * 2)
    poses = correction.poses(1, np.array([8]), pose((1, 1, 1), 0.3)[None])
    np.testing.assert_allclose(poses[0], pose((4, 2, 2), 0.3))  # rigid: the scale is that of the depths


def a_reconstruction(number, map_id):
    map_from_cam = pose((0, 0, 0))
    return Reconstruction(
        number * FRAME_NS, "cam", 0, map_id, picture(0), room_depth(map_from_cam), np.full(SIZE, 2.0, np.float32),
        INTRINSICS, map_from_cam, PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)),
    )  # fmt: skip


def test_a_joined_map_is_one_and_both_have_moved():
    builder = MapBuilder(MapConfig(voxel_size=0.05))
    builder.add(a_reconstruction(1, map_id=0), submap_id=0)
    old = builder.snapshot()
    builder.add(a_reconstruction(2, map_id=3), submap_id=1)
    assert [kept.map_id for kept in builder.snapshots()[:-1]] == [0]
    builder.correct(Correction(0, np.array([0, 1]), np.array([0, 3]), stacked([moved_by(10.0), moved_by(-10.0)])))
    joined = builder.snapshot()
    assert joined.map_id == 0
    assert builder.snapshots()[:-1] == []
    np.testing.assert_allclose(joined.map_from_cam[:, 0, 3], [10, -10])
    assert len(joined.cloud.points) >= 2 * len(old.cloud.points) - 10
    right = joined.cloud.points[joined.cloud.points[:, 0] > 5]
    np.testing.assert_allclose(right.mean(axis=0) - old.cloud.points.mean(axis=0), [10, 0, 0], atol=0.05)


def test_maps_that_have_ended_are_kept_as_long_as_there_is_room():
    builder = MapBuilder(MapConfig(voxel_size=0.05, max_points=2000))
    for map_id in range(MAX_KEPT + 5):
        builder.add(a_reconstruction(map_id + 1, map_id))
    kept = builder.snapshots()[:-1]
    assert sum(len(snapshot.cloud.points) for snapshot in kept) <= 2000
    assert [snapshot.map_id for snapshot in kept] == list(range(MAX_KEPT + 4 - len(kept), MAX_KEPT + 4))


def test_small_corrections_add_up_and_what_does_not_move_stays_bit_by_bit():
    part = MapPart(0.05, 1000)
    points = np.array([[0.01, 0.02, 0.03], [1.011, 0.02, 0.03], [-0.049, 0.31, 2.7]], np.float32)
    part.extend_cloud(
        Cloud(points, np.full((3, 3), 9, np.uint8), np.ones(3, np.float32)), 1.0, np.zeros(3), np.array([0, 1, 0])
    )
    for count in range(1, 31):
        part.correct(Correction(0, np.array([0, 1]), np.array([0, 0]), stacked([moved_by(0.0), moved_by(0.0015)])))
        found, of_submap = part.cloud().points, part.cloud_submap_ids()
        np.testing.assert_array_equal(found[of_submap == 0], points[[2, 0]])
        np.testing.assert_allclose(found[of_submap == 1], points[[1]] + [0.0015 * count, 0, 0], atol=STILL * 0.05)


def test_after_a_correction_the_voxels_farthest_from_the_camera_go():
    part = MapPart(0.05, 10)
    grey, ones = np.full((8, 3), 9, np.uint8), np.ones(8, np.float32)
    there, here = (np.arange(8)[:, None] * [0.1, 0, 0] + [x, 0.01, 0.01] for x in (5.01, 0.01))
    part.extend_cloud(Cloud(there, grey, ones), 1.0, np.zeros(3), 0)
    part.extend_path(1, pose((0, 0, 0)), 1)
    part.correct(Correction(0, np.array([0, 1]), np.array([0, 0]), stacked([moved_by(0.0), moved_by(5.0)])))
    np.testing.assert_allclose(part.camera_position, [5, 0, 0])
    np.testing.assert_allclose(part.poses[0][:3, 3], [5, 0, 0])
    part.extend_cloud(Cloud(here, grey, ones), 1.0, part.camera_position, 1)
    assert (part.cloud().points[:, 0] > 4).sum() == 8
