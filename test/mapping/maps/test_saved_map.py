"""Saved maps as files."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from room import pose
from safetensors.numpy import load_file, save_file
from saved_maps import a_saved_map, a_stored_submap

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.frames import Cloud
from dvlt_ros.mapping.data.views import Anchor
from dvlt_ros.mapping.maps.map_part import MapSnapshot
from dvlt_ros.mapping.maps.saved_map import SavedMap, read_saved_map


@pytest.fixture
def saved_file(tmp_path):
    path = tmp_path / "map.places.safetensors"
    path.write_bytes(a_saved_map().encoded())
    return path


def test_what_is_read_is_what_was_written(tmp_path):
    saved = a_saved_map([a_stored_submap(0), a_stored_submap(1, (24, 32)), a_stored_submap(2, intrinsics=None)])
    (tmp_path / "map").write_bytes(saved.encoded())
    read = read_saved_map(tmp_path / "map")
    for name in ("checkpoint", "is_metric", "voxel_size"):
        assert getattr(read, name) == getattr(saved, name)
    for name in ("stamps_ns", "map_from_cam"):
        np.testing.assert_array_equal(getattr(read, name), getattr(saved, name))
    for found, expected in zip(read.cloud, saved.cloud, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    numbers = [view.anchor.view.number for stored_submap in read.stored_submaps for view in stored_submap.views]
    assert max(numbers) < 0  # a stream's views are numbered from 0
    assert len(set(numbers)) == len(numbers)
    for found, expected in zip(read.stored_submaps, saved.stored_submaps, strict=True):
        assert (found.image_format, found.image_size) == (expected.image_format, expected.image_size)
        np.testing.assert_array_equal(found.descriptor, expected.descriptor)
        for view, other in zip(found.views, expected.views, strict=True):
            frame, other_frame = view.anchor.view.frame, other.anchor.view.frame
            for name in ("stamp_ns", "frame_id", "camera"):
                assert getattr(frame, name) == getattr(other_frame, name)
            np.testing.assert_array_equal(view.view().picture.image, other.view().picture.image)
            if other.picture_intrinsics is None:
                assert view.picture_intrinsics is None
            else:
                np.testing.assert_array_equal(view.picture_intrinsics, other.picture_intrinsics)
            for field in fields(Anchor)[1:]:
                np.testing.assert_array_equal(getattr(view.anchor, field.name), getattr(other.anchor, field.name))


def test_a_visit_is_saved_where_the_map_has_it():
    """Points of a view, by depth and pose, move as the map's points do."""
    map_from_visual = Sim3.of(2.5, pose((0, 0, 0), 0.4)[:3, :3], np.ones(3))
    stored_submap, poses = a_stored_submap(3), np.stack([pose((1, 2, 3))])
    empty = Cloud(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), np.ones(1, np.float32))
    snapshot = MapSnapshot(0, empty, np.ones(1, np.int64), poses, 0.1, {3: map_from_visual, 9: IDENTITY})
    saved = SavedMap.of(snapshot, {3: stored_submap, 4: a_stored_submap(4)}, "abc", is_metric=True)
    assert len(saved.stored_submaps) == 1
    for view, before in zip(saved.stored_submaps[0].views, stored_submap.views, strict=True):
        one, other = view.anchor, before.anchor
        points = [
            (a.depth[5, 7] * np.linalg.inv(a.intrinsics) @ [7.5, 5.5, 1]) @ a.map_from_cam[:3, :3].T
            + a.map_from_cam[:3, 3]
            for a in (one, other)
        ]
        np.testing.assert_allclose(points[0], map_from_visual.apply(points[1]), rtol=1e-5)
    with pytest.raises(InputError, match="no submap of this map is stored"):
        SavedMap.of(snapshot, {4: a_stored_submap(4)}, "abc", is_metric=True)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1000])


def of_another_version(path):
    save_file(load_file(path), path, {"format": "dvlt_ros map 0"})


def without_a_tensor(path):
    tensors = load_file(path)
    del tensors["view_jpeg"]
    rewrite(path, tensors)


def with_less_depth(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"view_depth": tensors["view_depth"][:-5]})


def with_fewer_views(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"num_views": tensors["num_views"] - 1})


def without_points(path):
    tensors = load_file(path)
    rewrite(path, tensors | {name: tensors[name][:0] for name in ("points", "colors", "confidence")})


def with_a_hole(name):
    def spoil(path):
        tensors = load_file(path)
        tensors[name].flat[-1] = np.nan
        rewrite(path, tensors)

    return spoil


def with_flat_poses(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"map_from_cam": np.ascontiguousarray(tensors["map_from_cam"][:, :3])})


def rewrite(path, tensors):
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        words = file.metadata()
    save_file(tensors, path, words)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_off, "not a whole map"),
        (lambda path: path.write_bytes(b""), "not a whole map"),
        (lambda path: path.write_bytes(b"ply\nformat ascii 1.0\n" * 99), "not a whole map"),
        (lambda path: path.unlink(), "cannot be read"),
        (of_another_version, "this version reads 'dvlt_ros map 2'"),
        (without_a_tensor, "not a whole map.*view_jpeg"),
        (with_less_depth, "not a whole map"),
        (with_fewer_views, "not a whole map"),
        (without_points, "a saved map needs submaps and voxels"),
        (with_flat_poses, "the path of a saved map must be finite"),
        *(
            (with_a_hole(name), f"the {what} of a saved map must be finite")
            for name, what in {
                "points": "points",
                "map_from_cam": "path",
                "descriptors": "descriptors",
                "view_map_from_cam": "places' cameras",
                "view_intrinsics": "places' intrinsics",
            }.items()
        ),
    ],
)
def test_a_file_that_is_no_whole_map_is_refused_by_its_name_and_reason(saved_file, spoil, reason):
    spoil(saved_file)
    with pytest.raises(InputError, match=f"(?s){saved_file.name}.*{reason}"):
        read_saved_map(saved_file)


def test_maps_of_another_checkpoint_or_another_unit_are_refused():
    saved = a_saved_map(checkpoint="abc", is_metric=True)
    saved.check("abc", is_metric=True)
    with pytest.raises(InputError, match="another checkpoint"):
        saved.check("xyz", is_metric=True)
    with pytest.raises(InputError, match="its lengths are in metres, this node's in a unit of its own"):
        saved.check("abc", is_metric=False)
    with pytest.raises(InputError, match="its lengths are in a unit of its own, this node's in metres"):
        a_saved_map().check("abc", is_metric=True)
