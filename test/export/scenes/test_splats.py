"""Gaussian splats, read back by plyfile and drawn by the equations of 3D Gaussian Splatting (Kerbl et al. 2023)."""

from __future__ import annotations

import numpy as np
import pytest
from room import INTRINSICS, SIZE, WALLS, walk
from room_scenes import CLOSE_CELL, room_images, room_points, sight_of
from scipy.spatial.transform import Rotation

from dvlt_ros.errors import InputError
from dvlt_ros.export.scenes import Sight, export_scene
from dvlt_ros.export.scenes.splats import SH_0, SPREAD, SplatMap, splats_of, write_splats

plyfile = pytest.importorskip("plyfile", reason="reads PLY files; pip install plyfile")


class Viewer:
    """What a viewer of splats knows: the file."""

    def __init__(self, path):
        self.vertices = vertices = plyfile.PlyData.read(path)["vertex"]

        def columns(prefix, names):
            return np.stack([vertices[f"{prefix}{name}"] for name in names], axis=1).astype(np.float64)

        self.centers = columns("", "xyz")
        self.colors = 0.5 + SH_0 * columns("f_dc_", range(3))
        self.opacity = 1 / (1 + np.exp(-vertices["opacity"].astype(np.float64)))
        self.deviations = np.exp(columns("scale_", range(3)))
        w, x, y, z = columns("rot_", range(4)).T
        self.axes = Rotation.from_quat(np.stack([x, y, z, w], axis=1)).as_matrix()

    def draw(self, world_from_cam):
        """Colours (h, w, 3) and how much is covered (h, w): projected Gaussians, blended front to back."""
        turned = world_from_cam[:3, :3].T
        centers = (self.centers - world_from_cam[:3, 3]) @ turned.T
        ahead = centers[:, 2] > 0.2
        centers, colors, opacity = centers[ahead], self.colors[ahead], self.opacity[ahead]
        spread = turned @ (self.axes[ahead] * self.deviations[ahead, None])
        covariance = spread @ spread.transpose(0, 2, 1)
        x, y, z = centers.T
        fx, fy = INTRINSICS[0, 0], INTRINSICS[1, 1]
        zero = np.zeros_like(z)
        jacobian = np.stack(
            [np.stack([fx / z, zero, -fx * x / z**2], -1), np.stack([zero, fy / z, -fy * y / z**2], -1)], 1
        )
        flat = np.linalg.inv(jacobian @ covariance @ jacobian.transpose(0, 2, 1))
        middles = (centers / centers[:, 2:]) @ INTRINSICS[:2].T
        drawn, left = np.zeros((*SIZE, 3)), np.ones(SIZE)
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        for i in np.argsort(z):
            off = np.stack([columns - middles[i, 0], rows - middles[i, 1]], axis=-1)
            alpha = opacity[i] * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", off, flat[i], off))
            drawn += (left * alpha)[..., None] * colors[i]
            left = left * (1 - alpha)
        return drawn, 1 - left


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splats") / "scene_0"
    export_scene(folder, room_images(), room_points(), 0.04, ("splats",))
    assert [path.name for path in folder.iterdir()] == ["splats.ply"]
    return Viewer(folder / "splats.ply")


def test_the_columns_are_those_of_3d_gaussian_splatting(viewer):
    names = [entry.name for entry in viewer.vertices.properties]
    assert " ".join(names) == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    )
    assert {entry.val_dtype for entry in viewer.vertices.properties} == {"f4"}
    assert not any(np.any(viewer.vertices[name]) for name in ("nx", "ny", "nz"))


def test_splats_lie_on_the_walls_and_along_them(viewer):
    distance = np.abs(viewer.centers[:, None] - WALLS)  # to lower and upper walls
    assert distance.min(axis=(1, 2)).max() < 1e-4
    wall = distance.min(axis=1).argmin(axis=1)
    normals = viewer.axes[:, :, 2]
    assert np.median(np.abs(normals[np.arange(len(wall)), wall])) > 0.999
    assert (viewer.deviations[:, 2] < 0.11 * viewer.deviations[:, :2].min(axis=1)).all()


@pytest.mark.parametrize("index", [0, 2])
def test_drawn_from_a_camera_they_show_its_image(viewer, index):
    pose = walk(4)[index]
    drawn, covered = viewer.draw(pose)
    assert np.quantile(covered, 0.02) > 0.9  # but for what no image trusts
    assert np.median(np.abs(255 * drawn - sight_of(pose).colors)) < 6


def test_seen_from_nearer_nothing_shows_through(viewer):
    """Half way to the wall a pixel's splat covers four pixels."""
    pose = walk(4)[0].copy()
    pose[:3, 3] += 0.5 * sight_of(pose).depth[12, 16] * pose[:3, 2]
    _, covered = viewer.draw(pose)
    assert np.median(covered[6:18, 8:24]) > 0.95


def test_of_a_wall_that_is_faced_a_splat_has_the_pixel_s_footprint():
    sight = Sight(np.full(SIZE, 2.0, np.float32), np.zeros((*SIZE, 3), np.uint8), INTRINSICS)
    splats = splats_of(sight, np.eye(4))
    np.testing.assert_allclose(splats.deviations[:, :2], SPREAD * 2.0 / INTRINSICS[0, 0], rtol=1e-4)


def test_a_pixel_without_depth_or_neighbours_is_no_trouble():
    depth = np.full((3, 3), np.nan, np.float32)
    depth[1, 1], depth[1, 2] = 1.0, 3.0  # alone, and beyond the edge of a surface
    splats = splats_of(Sight(depth, np.zeros((3, 3, 3), np.uint8), INTRINSICS), np.eye(4))
    np.testing.assert_allclose(splats.deviations[:, 0], SPREAD * np.array([1.0, 3.0]) / INTRINSICS[0, 0], rtol=1e-5)


def test_there_are_never_more_than_asked_for_and_the_finest_stay():
    near, far = walk(4)[0], walk(4)[0].copy()
    far[:3, 3] -= 1.5 * far[:3, 2]
    together, most = SplatMap(0.01, most=400), 400
    for pose in (far, near, far):
        together.add(splats_of(sight_of(near) if pose is near else _from_further(near, 1.5), pose))
    splats = together.splats()
    assert 100 < len(splats) <= most
    assert together.voxel_size > 0.01
    assert (splats.deviations[:, :2] >= np.float32(SPREAD * together.voxel_size)).all()  # no gap is left


def _from_further(near, metres):
    sight = sight_of(near)
    return Sight(sight.depth + np.float32(metres), sight.colors, sight.intrinsics)


def test_untrusted_pixels_have_no_splat():
    sight = sight_of(walk(1)[0])
    assert len(splats_of(sight, np.eye(4))) == sight.depth.size - sight.depth[CLOSE_CELL].size


def test_without_depth_there_is_one_clear_line(tmp_path):
    blind = Sight(np.full(SIZE, np.nan, np.float32), np.zeros((*SIZE, 3), np.uint8), INTRINSICS)
    with pytest.raises(InputError, match=r"splats\.ply: no trusted depth"):
        write_splats(tmp_path / "splats.ply", splats_of(blind, np.eye(4)))
    with pytest.raises(InputError, match="above 0"):
        SplatMap(0.0)
