"""Scenes of a recording for other programs: what they read agrees with the map, the path and the depth images."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from dvlt_ros import reconstruct_bag
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import InputError
from dvlt_ros.offline import scenes

pycolmap = pytest.importorskip("pycolmap", reason="reads COLMAP models; pip install pycolmap")
plyfile = pytest.importorskip("plyfile", reason="reads PLY files; pip install plyfile")

QUICK = [
    "--model-image-size", "56", "--budget-k-max", "2", "--device", "cpu", "--keyframes-min-change", "0",
    "--registration-max-residual", "0.9", "--window-size", "4", "--window-overlap", "1",
]  # fmt: skip
COUNT = 5
MAPS = "map_0.ply", "trajectory_0.txt", "page_0.png"


def points_of(path):
    vertices = plyfile.PlyData.read(path)["vertex"]
    return np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def output(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    reconstruct_bag.main([str(photos), "--output", str(folder), *QUICK, "--export", "colmap", "nerfstudio", "splats"])
    assert not [path for path in folder.iterdir() if "unfinished" in path.name]
    return folder


def test_colmap_has_every_image_where_the_trajectory_has_it(output):
    model = pycolmap.Reconstruction(output / "scene_0" / "sparse" / "0")
    rows = np.loadtxt(output / "trajectory_0.txt")
    images = sorted(model.images.values(), key=lambda image: image.name)
    assert [float(image.name.removesuffix(".jpg")) for image in images] == rows[:, 0].tolist()
    np.testing.assert_allclose([image.projection_center() for image in images], rows[:, 1:4], atol=1e-6)


def test_depth_unprojected_by_colmaps_cameras_is_the_map(output):
    """Intrinsics and poses are those of the images' own pixels: depth images have the same size."""
    model = pycolmap.Reconstruction(output / "scene_0" / "sparse" / "0")
    cloud = cKDTree(points_of(output / "map_0.ply"))
    for image in model.images.values():
        camera = model.cameras[image.camera_id]
        depth = cv2.imread(str(output / "depth" / image.name.replace(".jpg", ".tiff")), cv2.IMREAD_UNCHANGED)
        picture = cv2.imread(str(output / "scene_0" / "images" / image.name))
        assert picture.shape[:2] == depth.shape == (camera.height, camera.width)
        rows, columns = np.nonzero(np.isfinite(depth))
        pixels = np.stack([columns, rows], axis=1)[::50] + 0.5
        z = depth[rows, columns][::50, None]
        rays = np.concatenate([(pixels - camera.params[2:]) / camera.params[:2], np.ones((len(pixels), 1))], axis=1)
        points = (rays * z - image.cam_from_world().translation) @ image.cam_from_world().rotation.matrix()
        off = cloud.query(points)[0]
        assert np.median(off) < 0.02 * np.median(z)


def test_splats_lie_in_the_map(output):
    cloud, splats = points_of(output / "map_0.ply"), points_of(output / "scene_0" / "splats.ply")
    assert len(splats) > len(cloud)
    size = np.linalg.norm(np.ptp(cloud, axis=0))
    assert np.median(cKDTree(cloud).query(splats)[0]) < 0.02 * size


def test_nerfstudio_finds_its_images(output):
    frames = json.loads((output / "scene_0" / "transforms.json").read_text())["frames"]
    assert len(frames) == COUNT
    assert all((output / "scene_0" / frame["file_path"]).is_file() for frame in frames)


def test_without_export_scenes_of_an_earlier_run_go_and_nothing_else(photos, tmp_path):
    out = tmp_path / "out"
    (out / "scene_0" / "images").mkdir(parents=True)
    (out / "scene_1").mkdir()
    (out / "scene_1" / "notes.txt").write_text("of somebody else")
    reconstruct_bag.main([str(photos), "--output", str(out), *QUICK])
    assert not (out / "scene_0").exists()
    assert (out / "scene_1" / "notes.txt").is_file()


def test_a_scene_that_finds_no_room_does_not_take_the_map_with_it(photos, tmp_path, monkeypatch):
    def full(*_):
        raise InputError("scene_0: cannot be written: No space left on device")

    monkeypatch.setattr(scenes, "export_scene", full)
    with pytest.raises(SystemExit, match="scene_0: cannot be written: No space left on device"):
        reconstruct_bag.main([str(photos), "--output", str(tmp_path), *QUICK, "--export", "splats"])
    surface = {"mesh_0.ply", "mesh_0.glb", "voxels_0.bt"}  # which so few small depth maps may show, or not
    assert {path.name for path in tmp_path.iterdir()} - surface == {*MAPS, "depth", "images.csv"}
