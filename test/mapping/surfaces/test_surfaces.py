"""Depth fused in a volume, and the mesh and the grid that are read from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from walled import (
    BAND,
    COLOR,
    INTRINSICS,
    WALL_M,
    frame,
    mapped,
    pose,
    update,
    view,
    wall_and_floor,
)

from dvlt_ros.alignment import Sim3
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.data.corrections import Correction
from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.mapping.surfaces.config import SurfacesConfig
from dvlt_ros.mapping.surfaces.fusion import DepthView, fuse
from dvlt_ros.mapping.surfaces.grid import FREE, OCCUPIED, UNKNOWN, Band
from dvlt_ros.mapping.surfaces.mesh import BlockMeshes, Mesh
from dvlt_ros.mapping.surfaces.surface_map import SurfaceMap
from dvlt_ros.mapping.surfaces.surfaces import Surfaces
from dvlt_ros.mapping.surfaces.volume import VIEWS_PER_SUPPORT, Volume, keys_of, places_of


def drive(surfaces, boxes=(), count=4):
    for step in range(count):
        surfaces.fuse(view(pose(0.1 * step), boxes))


@pytest.fixture
def surfaces():
    return Surfaces(0, 0.05, 10_000)


def test_keys_and_places_are_inverse():
    places = np.array([[0, 0, 0], [-1, 2, -3], [1000, -1000, 5]])
    assert (places_of(keys_of(places)) == places).all()
    assert (np.diff(keys_of(np.array([[0, 0, -1], [0, 0, 0], [0, 1, 0]]))) > 0).all()


def test_the_mesh_lies_on_the_true_surfaces_and_looks_into_free_space(surfaces):
    drive(surfaces)
    mesh = surfaces.mesh()
    assert len(mesh.triangles) > 3000
    off = wall_and_floor(mesh)
    assert np.quantile(off, 0.9) < 0.01
    assert off.max() < 0.05
    corners = mesh.vertices[mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    to_camera = pose(0.2)[:3, 3] - corners.mean(axis=1)
    assert (np.einsum("nc,nc->n", normals, to_camera) > 0).mean() > 0.99
    assert np.abs(mesh.colors.astype(int) - COLOR).max() <= 1


def test_the_mesh_is_watertight_between_blocks(surfaces):
    """An inner edge belongs to two triangles, the rest are on the rim of what has been seen."""
    drive(surfaces)
    triangles = surfaces.mesh().triangles
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert times.max() == 2
    assert (times == 2).mean() > 0.95


def test_blocks_that_change_are_meshed_as_if_all_were(surfaces):
    for step in range(4):
        surfaces.fuse(view(pose(0.1 * step, turned=0.2 * step)))
        followed = surfaces.mesh()
    anew = BlockMeshes()
    anew.follow(surfaces.volume, surfaces.volume.keys)
    assert abs(len(followed.triangles) - len(anew.mesh.triangles)) <= 0.01 * len(anew.mesh.triangles)


PERSON = ((1.4, -0.2, 0.0), (1.8, 0.2, 1.2))


def in_person(points):
    return ((points > np.array(PERSON[0]) - 0.03) & (points < np.array(PERSON[1]) + 0.03)).all(axis=1) & (
        points[:, 2] > 0.1
    )


def test_who_stays_is_in_the_mesh(surfaces):
    drive(surfaces, [PERSON])
    assert in_person(surfaces.mesh().vertices).sum() > 50


def look_elsewhere(surfaces):
    """So many views of what lies behind the camera that a surface needs all its support."""
    for step in range(2 * VIEWS_PER_SUPPORT):
        surfaces.fuse(view(pose(0.1 * step, turned=math.pi)))


def test_who_went_away_is_not_where_the_camera_looks_again(surfaces):
    drive(surfaces, [PERSON], count=3)
    assert in_person(surfaces.mesh().vertices).any()
    drive(surfaces, count=4)
    assert not in_person(surfaces.mesh().vertices).any()


def test_who_comes_to_a_free_place_is_not_in_the_mesh_at_once(surfaces):
    drive(surfaces, count=6)
    drive(surfaces, [PERSON], count=2)
    assert not in_person(surfaces.mesh().vertices).any()


@pytest.mark.parametrize("step_m", [0.25, 0.4, 0.6])
def test_who_walks_past_leaves_no_trace_even_where_nobody_looks_again(surfaces, step_m):
    look_elsewhere(surfaces)
    for step in range(6):
        middle = (step - 2.5) * step_m
        surfaces.fuse(view(pose(0.1 * step), [((1.4, middle - 0.2, 0.0), (1.8, middle + 0.2, 1.2))]))
    vertices = surfaces.mesh().vertices
    assert not ((vertices[:, 0] > 1.3) & (vertices[:, 0] < 2.0) & (vertices[:, 2] > 0.1)).any()
    grid = surfaces.grid(BAND)
    first, last = (int((x - grid.origin[0]) // grid.resolution) for x in (1.3, 2.0))
    assert not (grid.cells[:, first:last] == OCCUPIED).any()


def test_what_two_views_alone_have_seen_is_unknown_and_a_third_one_makes_it_an_obstacle(surfaces):
    before = PERSON[0][0] + 0.02, 0.0
    look_elsewhere(surfaces)
    drive(surfaces, [PERSON], count=2)
    assert cell_at(surfaces.grid(BAND), before) == UNKNOWN
    assert not in_person(surfaces.mesh().vertices).any()
    surfaces.fuse(view(pose(0.2), [PERSON]))
    assert cell_at(surfaces.grid(BAND), before) == OCCUPIED
    assert in_person(surfaces.mesh().vertices).any()


def test_a_map_of_few_views_shows_what_two_have_seen_until_there_are_more(surfaces):
    drive(surfaces, [PERSON], count=2)
    assert in_person(surfaces.mesh().vertices).any()
    assert cell_at(surfaces.grid(BAND), (PERSON[0][0] + 0.02, 0.0)) == OCCUPIED
    look_elsewhere(surfaces)
    assert not in_person(surfaces.mesh().vertices).any()
    assert cell_at(surfaces.grid(BAND), (PERSON[0][0] + 0.02, 0.0)) == UNKNOWN


def test_pixels_without_trust_say_nothing(surfaces):
    nothing = view(pose())
    surfaces.fuse(DepthView(np.full_like(nothing.depth, np.nan), nothing.colors, INTRINSICS, pose()))
    assert len(surfaces.volume) == 0
    assert len(surfaces.mesh().triangles) == 0


def test_a_full_volume_drops_what_is_far_from_the_camera():
    volume = Volume(0.05, 150)
    for step in range(6):
        fuse(volume, view(pose(0.0, 2.0 * step)))
    assert 100 < len(volume) <= 150
    assert np.abs(volume.centers(volume.keys)[:, 1] - 10.0).max() < 4
    before = volume.num_bytes
    fuse(volume, view(pose(0.0, 12.0)))
    assert volume.num_bytes < 1.01 * before
    with pytest.raises(ConfigError, match="max_blocks"):
        Volume(0.05, 0)


def cell_at(grid, position):
    column, row = (int((at - origin) // grid.resolution) for at, origin in zip(position, grid.origin, strict=True))
    return grid.cells[row, column]


def test_the_grid_knows_floor_wall_and_what_nobody_saw(surfaces):
    drive(surfaces, [PERSON])
    grid = surfaces.grid(BAND)
    assert grid.floor == pytest.approx(0.0, abs=0.02)
    assert cell_at(grid, (WALL_M + 0.02, 0.6)) == OCCUPIED
    assert cell_at(grid, (PERSON[0][0] + 0.02, 0.0)) == OCCUPIED
    assert cell_at(grid, (2.0, 0.8)) == FREE
    assert cell_at(grid, (2.4, 0.0)) == UNKNOWN  # behind the box
    assert {UNKNOWN, FREE, OCCUPIED} == set(np.unique(grid.cells).tolist())


def test_what_is_above_the_robot_is_no_obstacle(surfaces):
    shelf = ((1.8, -0.5, 0.9), (2.2, 0.5, 1.1))
    drive(surfaces, [shelf])
    under = 1.82, 0.0
    assert cell_at(surfaces.grid(Band(0.05, 0.7)), under) == FREE
    assert cell_at(surfaces.grid(BAND), under) == OCCUPIED


def mesh_of(surface_map):
    while not surface_map.follow():
        pass
    return Mesh.joined(list(surface_map.meshes().of_block.values()))


def correction(moved_m, map_ids=(0,)):
    count = len(map_ids)
    translation = torch.tensor([[0.0, 0.0, moved_m]] * count, dtype=torch.float64)
    moved = Sim3(
        torch.ones(count, dtype=torch.float64), torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), translation
    )
    return MapUpdate(None, None, True, True, (Correction(0, np.arange(count), np.array(map_ids), moved),))


def test_a_loop_closure_moves_the_surfaces():
    surface_map = mapped()
    before, state = mesh_of(surface_map), surface_map.meshes().state
    surface_map.integrate(correction(0.01))  # less than half a voxel: nothing is fused again
    mesh_of(surface_map)
    assert surface_map.meshes().state is state
    surface_map.integrate(correction(0.5))
    after = mesh_of(surface_map)
    assert surface_map.meshes(state).changed is None
    heights = [mesh.vertices[:, 2] for mesh in (before, after)]
    floors = [np.median(z[np.abs(z - at) < 0.1]) for z, at in zip(heights, (0.0, 0.51), strict=True)]
    assert floors[1] - floors[0] == pytest.approx(0.51, abs=0.02)


def test_the_old_surfaces_are_shown_until_the_new_ones_are_complete():
    surface_map = mapped(10)
    mesh_of(surface_map)
    state = surface_map.meshes().state
    surface_map.integrate(correction(0.5))
    assert surface_map.num_keyframes > 4
    for _ in range((surface_map.num_keyframes - 1) // 2):
        assert not surface_map.follow(at_most=2)
        assert surface_map.meshes().state is state
    assert surface_map.follow(at_most=2)
    assert surface_map.meshes().state is not state


def test_frames_that_wait_for_their_place_come_in_with_the_map_s_unit():
    surface_map = SurfaceMap(SurfacesConfig(), is_metric=True)
    for number in range(3):
        waiting = frame(pose(0.3 * number), number + 1)
        waiting.map_from_cam[:3, 3] /= 2
        halved = Reconstruction(**(vars(waiting) | {"depth": waiting.depth / 2}))
        surface_map.integrate(update(halved, is_placed=False))
    assert surface_map.follow()
    assert surface_map.meshes() is None
    surface_map.integrate(update(frame(pose(1.0), 9), map_from_visual=Sim3.of(2.0, np.eye(3), np.zeros(3))))
    assert np.quantile(wall_and_floor(mesh_of(surface_map)), 0.9) < 0.02


def test_another_map_has_surfaces_of_its_own():
    surface_map = mapped()
    first = mesh_of(surface_map)
    surface_map.integrate(update(frame(pose(0.0), 10, map_id=1), map_id=1))
    second = mesh_of(surface_map)
    assert len(second.triangles) < len(first.triangles)
    assert len(surface_map.of_map(0).mesh().triangles) == len(first.triangles)
    assert surface_map.of_map(7) is None


def test_keyframes_are_bounded_and_a_camera_that_stands_adds_none():
    surface_map = mapped(12, max_keyframes=5)
    assert surface_map.num_keyframes == 5
    once = surface_map.num_bytes
    for number in range(20, 25):
        surface_map.integrate(update(frame(pose(0.3 * 11), number)))
    assert surface_map.num_bytes == once
    assert mapped(3, max_keyframes=0).num_keyframes == 0


def test_no_grid_says_why():
    unscaled = SurfaceMap(SurfacesConfig(), is_metric=False)
    with pytest.raises(InputError, match="metres"):
        unscaled.grid(BAND)
    tilted = SurfaceMap(SurfacesConfig(), is_metric=True, no_level=lambda: "nobody knows where up is")
    with pytest.raises(InputError, match="where up is"):
        tilted.grid(BAND)
    with pytest.raises(InputError, match="no floor"):
        SurfaceMap(SurfacesConfig(), is_metric=True).grid(BAND)
