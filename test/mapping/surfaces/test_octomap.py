"""The volume as OctoMap itself reads it."""

from __future__ import annotations

import numpy as np
import pytest
from walled import WALL_M, pose, view

from dvlt_ros.mapping.surfaces.octomap import octomap
from dvlt_ros.mapping.surfaces.surfaces import Surfaces
from dvlt_ros.mapping.surfaces.volume import EDGE, MIN_WEIGHT, places_of, voxel_places

library = pytest.importorskip("octomap", reason="octomap-python is not here; `pip install octomap-python` runs this")


@pytest.fixture(scope="module")
def surfaces():
    found = Surfaces(0, 0.05, 10_000)
    for step in range(4):
        found.fuse(view(pose(0.1 * step)))
    return found


@pytest.fixture(scope="module")
def tree(surfaces, tmp_path_factory):
    path = tmp_path_factory.mktemp("octomap") / "voxels.bt"
    path.write_bytes(octomap(surfaces.volume))
    found = library.OcTree(str(path).encode())
    assert found.size() == found.calcNumNodes() == int(path.read_bytes().split(b"size ")[1].split()[0])
    return found


def seen_at(tree, point):
    """None: unknown; else whether it is occupied."""
    node = tree.search(np.asarray(point, float))
    try:
        return bool(tree.isNodeOccupied(node))
    except library.NullPointerException:
        return None


def test_every_voxel_is_what_the_volume_says(surfaces, tree):
    volume = surfaces.volume
    assert tree.getResolution() == pytest.approx(0.05)
    rng = np.random.default_rng(0)
    for row in rng.integers(0, len(volume), 400):
        voxel = rng.integers(EDGE**3)
        center = (EDGE * places_of(volume.keys[row]) + voxel_places()[voxel] + 0.5) * 0.05
        is_surface = volume.distance[volume.rows[row], voxel] < 32_000 / 6
        is_believed = volume.believed(volume.rows[row : row + 1])[0, voxel]
        is_known = volume.weight[volume.rows[row], voxel] >= MIN_WEIGHT and (is_believed or not is_surface)
        assert seen_at(tree, center) == (bool(is_surface) if is_known else None)


def test_wall_and_floor_are_occupied_and_the_way_there_is_free(tree):
    assert seen_at(tree, (WALL_M + 0.025, 0.01, 0.6))
    assert seen_at(tree, (2.0, 0.01, -0.025))
    for x in (1.5, 2.0, 2.5):
        assert seen_at(tree, (x, 0.01, 0.6)) is False
    assert seen_at(tree, (-1.0, 0.01, 0.6)) is None
