"""Parts of maps that are deleted."""

from __future__ import annotations

import numpy as np
import pytest
from lap import LAP
from lap_drive import Drive, drive_and_save

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.data.region import Region


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    _, saved = drive_and_save(tmp_path_factory.mktemp("maps"))
    return saved


def around(path, share=0.5):
    """The part of the map on one side of the path's middle."""
    x = float(np.quantile(path[:, 0, 3], share))
    return Region(x, -1e6, 1e6, 1e6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1 2 3", "must be 'x_min"), ("a b c d", "must be 'x_min"), ("0 0 nan 1", "must be 'x_min"), ("1 0 0 1", "below")],
)
def test_what_is_no_rectangle_is_refused_by_name(text, reason):
    with pytest.raises(ConfigError, match=rf"^maps\.region.*{reason}"):
        Region.parse(text, "maps.region")
    assert Region.parse("-1, 2 3.5,4", "maps.region") == Region(-1, 2, 3.5, 4)


def test_points_places_and_surfaces_of_a_region_go_and_come_back_where_they_are_seen_again():
    drive = Drive()
    drive.go(range(1, LAP + 4))
    mapper, before = drive.mapper, drive.mapper.snapshot()
    mapper.surfaces.follow(at_most=1000)
    region, count = around(before.map_from_cam), len(mapper.loops.detector)
    inside = int(region.contains(before.cloud.points).sum())
    said = mapper.delete_region(region)
    after = mapper.snapshot()
    assert said == f"deleted {inside} points and {count - len(mapper.loops.detector)} places"
    assert len(after.cloud.points) == len(before.cloud.points) - inside
    assert not region.contains(after.cloud.points).any()
    assert 0 < len(mapper.loops.detector) < count
    assert mapper.surfaces.meshes() is None
    mapper.surfaces.follow(at_most=1000)
    vertices = np.concatenate([mesh.vertices for mesh in mapper.surfaces.meshes().of_block.values()])
    assert vertices[:, 0].max() < region.x_min + 0.5  # a surface goes on for a few voxels
    assert not region.contains(drive.saved().cloud.points).any()  # what is saved
    drive.go(range(LAP + 4, 2 * LAP))
    assert region.contains(mapper.snapshot().cloud.points).sum() > inside / 2
    with pytest.raises(InputError, match="has nothing in"):
        mapper.delete_region(Region(900, 900, 901, 901))


def test_a_map_that_stays_as_it_is_can_be_cut_and_keeps_the_cut(saved):
    drive = Drive(mode="localization")
    drive.load(saved)
    everything = Region(-1e6, -1e6, 1e6, 1e6)
    with pytest.raises(InputError, match="the camera could not be found"):
        drive.mapper.delete_region(everything)
    drive.mapper.delete_region(around(saved.map_from_cam, share=0.8))
    left = len(drive.mapper.loops.detector)
    assert 20 <= left < len(saved.stored_submaps)
    drive.mapper.reset()
    assert len(drive.mapper.loops.detector) == left
    drive.go(range(LAP + 1, 2 * LAP))
    assert drive.relocalized == "yes"
    assert len(drive.saved().stored_submaps) == left
