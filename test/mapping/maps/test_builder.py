"""The map that grows: bounded, of one map_id, with every pose until there are too many."""

from __future__ import annotations

import numpy as np
import pytest
from room import FRAME_NS, INTRINSICS, SIZE, picture, pose, room_depth

from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.mapping.maps.builder import MapBuilder
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.maps.map_part import MAX_PATH
from dvlt_ros.model import PixelMapping


@pytest.fixture
def make_reconstruction():
    shown, mapping = picture(0), PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))
    confidence = np.full(SIZE, 2.0, np.float32)

    def make(number, map_id=0, depth=None, map_from_cam=None):
        map_from_cam = pose((0, 0, 0)) if map_from_cam is None else map_from_cam
        depth = room_depth(map_from_cam) if depth is None else depth
        stamp_ns = number * FRAME_NS
        return Reconstruction(
            stamp_ns, "cam", 0, map_id, shown, depth, confidence, INTRINSICS, map_from_cam, mapping
        )  # fmt: skip

    return make


def test_the_same_view_again_adds_no_points(make_reconstruction):
    builder = MapBuilder(MapConfig(voxel_size=0.1))
    builder.add(make_reconstruction(1))
    once = builder.snapshot()
    builder.add(make_reconstruction(2))
    twice = builder.snapshot()
    assert len(once.cloud.points) == len(twice.cloud.points) > 100
    np.testing.assert_allclose(once.cloud.points, twice.cloud.points, atol=1e-5)
    assert list(twice.stamps_ns) == [FRAME_NS, 2 * FRAME_NS]


def test_points_of_different_views_meet_on_the_walls(make_reconstruction):
    builder = MapBuilder(MapConfig(voxel_size=0.05))
    for number in range(8):
        builder.add(make_reconstruction(number + 1, map_from_cam=pose((0.1 * number, 0, -0.1 * number), 0.3 * number)))
    points = builder.snapshot().cloud.points
    gaps = np.abs(points[:, :, None] - np.array([[-3.0, 3.0], [-1.5, 1.0], [-4.0, 5.0]]))
    assert (gaps.min(axis=(1, 2)) < 0.06).all()


def test_another_map_begins_empty(make_reconstruction):
    builder = MapBuilder(MapConfig(voxel_size=0.1))
    builder.add(make_reconstruction(1))
    builder.add(make_reconstruction(2, map_id=1, depth=np.full(SIZE, np.nan, np.float32)))
    snapshot = builder.snapshot()
    assert (snapshot.map_id, len(snapshot.cloud.points), len(snapshot.map_from_cam)) == (1, 0, 1)


def test_a_map_without_a_path_is_kept_and_can_be_loaded(make_reconstruction):
    """Of a rig whose first camera, whose path it is, is silent."""
    builder = MapBuilder(MapConfig(voxel_size=0.1), path_camera="left")
    builder.add(make_reconstruction(1))
    builder.add(make_reconstruction(2, map_id=1))
    ended, _ = builder.snapshots()
    assert ended.map_id == 0
    assert len(ended.stamps_ns) == 0
    assert len(ended.cloud.points) > 100
    elsewhere = MapBuilder(MapConfig(voxel_size=0.1), path_camera="left")
    elsewhere.load(ended, submap_id=0)
    assert elsewhere.snapshot().is_as_loaded
    np.testing.assert_allclose(elsewhere.snapshot().cloud.points, ended.cloud.points, atol=0.1)
    elsewhere.add(make_reconstruction(3))
    assert not elsewhere.snapshot().is_as_loaded


def test_an_automatic_voxel_is_a_hundredth_of_the_depth(make_reconstruction):
    for unit in (1.0, 50.0):
        builder = MapBuilder(MapConfig())
        builder.add(make_reconstruction(1, depth=np.full(SIZE, unit, np.float32)))
        assert len(builder.snapshot().cloud.points) == SIZE[0] * SIZE[1]  # pixels are 4 % of the depth apart


def test_a_long_path_is_thinned_and_keeps_its_ends(make_reconstruction):
    builder = MapBuilder(MapConfig(voxel_size=1.0))
    nothing = np.full(SIZE, np.nan, np.float32)
    for number in range(1, 3 * MAX_PATH):
        builder.add(make_reconstruction(number, depth=nothing))
    stamps = builder.snapshot().stamps_ns // FRAME_NS
    assert MAX_PATH / 2 <= len(stamps) <= MAX_PATH
    assert stamps[0] == 1
    assert stamps[-1] >= 3 * MAX_PATH - 8
    assert set(np.diff(stamps)) == {4}
