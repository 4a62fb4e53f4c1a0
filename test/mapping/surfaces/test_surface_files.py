"""Mesh and grid as files, read back by other programs' rules."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from walled import BAND, COLOR, frame, mapped, pose, update, wall_and_floor

from dvlt_ros.mapping.surfaces.config import SurfacesConfig
from dvlt_ros.mapping.surfaces.files import write_surfaces
from dvlt_ros.mapping.surfaces.grid import FREE, OCCUPIED, UNKNOWN
from dvlt_ros.mapping.surfaces.surface_map import SurfaceMap

trimesh = pytest.importorskip("trimesh", reason="trimesh reads meshes back: pip install 'dvlt_ros[benchmarks]'")


@pytest.fixture
def written(tmp_path):
    surface_map = mapped(6)
    write_surfaces(surface_map, 0, tmp_path / "mesh_0.ply", tmp_path / "grid_0.pgm", BAND, "lengths in metres")
    return surface_map, tmp_path


def test_ply_and_glb_are_the_mesh(written):
    surface_map, folder = written
    mesh = surface_map.of_map(0).mesh()
    ply = trimesh.load(folder / "mesh_0.ply", process=False)
    np.testing.assert_allclose(ply.vertices, mesh.vertices, atol=1e-6)
    assert (ply.faces == mesh.triangles).all()
    assert (ply.visual.vertex_colors[:, :3] == COLOR).mean() > 0.99
    (glb,) = trimesh.load(folder / "mesh_0.glb", process=False).geometry.values()
    assert len(glb.faces) == len(mesh.triangles)
    np.testing.assert_allclose(glb.vertices[:, 1], mesh.vertices[:, 2], atol=1e-6)  # y is up
    assert np.quantile(wall_and_floor(mesh), 0.9) < 0.01
    assert b"comment lengths in metres" in (folder / "mesh_0.ply").read_bytes()[:100]


def map_server(folder, name):
    """Cells (rows, columns), row 0 at the origin, as map_server's trinary mode reads a map."""
    info = yaml.safe_load((folder / name).read_text())
    assert info["mode"] == "trinary"
    darkness = 1 - cv2.imread(str(folder / info["image"]), cv2.IMREAD_GRAYSCALE)[::-1] / 255
    assert not info["negate"]
    cells = np.full(darkness.shape, UNKNOWN)
    cells[darkness > info["occupied_thresh"]] = OCCUPIED
    cells[darkness < info["free_thresh"]] = FREE
    return cells, info


def test_map_server_reads_the_grid(written):
    surface_map, folder = written
    grid = surface_map.of_map(0).grid(BAND)
    cells, info = map_server(folder, "grid_0.yaml")
    assert (cells == grid.cells).all()
    assert info["resolution"] == pytest.approx(grid.resolution)
    assert info["origin"] == pytest.approx([*grid.origin, 0.0])


def test_a_map_without_metres_has_a_mesh_and_no_grid(tmp_path):
    surface_map = SurfaceMap(SurfacesConfig(), is_metric=False)
    for number in range(4):
        surface_map.integrate(update(frame(pose(0.3 * number), number + 1)))
    write_surfaces(surface_map, 0, tmp_path / "mesh_0.ply", tmp_path / "grid_0.pgm", BAND)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mesh_0.glb", "mesh_0.ply", "voxels_0.bt"]
    write_surfaces(surface_map, 5, tmp_path / "mesh_5.ply", tmp_path / "grid_5.pgm", BAND)
    assert not (tmp_path / "mesh_5.ply").exists()
