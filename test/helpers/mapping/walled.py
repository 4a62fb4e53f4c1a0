"""A wall and a floor before a camera, as depth, frames and map updates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from dvlt_ros.mapping.data.frames import Picture, Reconstruction
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.mapping.surfaces.config import SurfacesConfig
from dvlt_ros.mapping.surfaces.fusion import DepthView
from dvlt_ros.mapping.surfaces.grid import Band
from dvlt_ros.mapping.surfaces.surface_map import SurfaceMap
from dvlt_ros.model import PixelMapping

SIZE = (48, 64)
INTRINSICS = np.array([[48.0, 0.0, 32.0], [0.0, 48.0, 24.0], [0.0, 0.0, 1.0]])
MAP_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
HEIGHT_M, WALL_M = 0.6, 3.0  # of the camera, and to the wall ahead
BAND = Band(0.05, 2.0)
COLOR = (200, 100, 50)


def pose(x=0.0, y=0.0, turned=0.0):
    """map_from_cam of a camera that looks along x, ``HEIGHT_M`` above the floor z = 0."""
    cosine, sine = np.cos(turned), np.sin(turned)
    map_from_cam = np.eye(4)
    map_from_cam[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ MAP_FROM_OPTICAL
    map_from_cam[:3, 3] = x, y, HEIGHT_M
    return map_from_cam


def depth_of(map_from_cam, boxes=()):
    """(h, w) float32 of a floor, a wall across at ``WALL_M``, and boxes ((3,), (3,))."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pixels = np.stack([u, v, np.ones(SIZE)], axis=-1)
    rays = pixels @ np.linalg.inv(INTRINSICS).T @ map_from_cam[:3, :3].T
    start = map_from_cam[:3, 3]
    found = np.full(SIZE, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for low, high in [((-50, -50, -1), (50, 50, 0)), ((WALL_M, -50, -1), (WALL_M + 1, 50, 5)), *boxes]:
            ends = (np.array([low, high])[:, None, None] - start) / rays
            enter, leave = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
            found = np.where((enter < leave) & (enter > 0), np.minimum(found, enter), found)
    return found.astype(np.float32)


def view(map_from_cam, boxes=()):
    colors = np.full((*SIZE, 3), COLOR, np.uint8)
    return DepthView(depth_of(map_from_cam, boxes), colors, INTRINSICS, map_from_cam)


def wall_and_floor(mesh):
    """(V,): distance of each vertex from the nearer of both."""
    return np.minimum(np.abs(mesh.vertices[:, 0] - WALL_M), np.abs(mesh.vertices[:, 2]))


def frame(map_from_cam, number, map_id=0):
    mapping = PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))
    picture = Picture(np.full((*SIZE, 3), COLOR, np.uint8), INTRINSICS)
    depth = depth_of(map_from_cam)
    return Reconstruction(
        number, "cam", 0, map_id, picture, depth, np.ones_like(depth), INTRINSICS, map_from_cam, mapping
    )


def update(*frames, submap_id=0, is_placed=True, map_from_visual=None, map_id=0):
    window = SimpleNamespace(reconstructions=frames, map_id=map_id, submap_id=submap_id, submap=None)
    return MapUpdate(window, window, True, is_placed, map_from_visual=map_from_visual)


def mapped(count=4, **options):
    surface_map = SurfaceMap(SurfacesConfig(**options), is_metric=True)
    for number in range(count):
        surface_map.integrate(update(frame(pose(0.3 * number), number + 1), submap_id=number))
    return surface_map
