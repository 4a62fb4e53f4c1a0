"""nerfstudio's transforms.json by its documented conventions: OpenGL axes, camera to world, intrinsics per image."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from room import WALLS
from room_scenes import FINE, IMAGE_SIZE, colors_at, room_images, room_points

from dvlt_ros.export.scenes import export_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nerfstudio") / "scene_0"
    export_scene(folder, room_images(), room_points(), 0.1, ("nerfstudio",))
    return folder


def test_rays_of_its_cameras_meet_the_walls_that_the_images_show(scene):
    """By the documented rule alone: a ray is ((u - cx) / fl_x, -(v - cy) / fl_y, -1), turned by transform_matrix."""
    meta = json.loads((scene / "transforms.json").read_text())
    assert meta["camera_model"] == "PINHOLE"
    assert len(meta["frames"]) == 4
    for frame, truth in zip(meta["frames"], room_images(), strict=True):
        picture = cv2.imread(str(scene / frame["file_path"]))[..., ::-1]
        assert picture.shape[:2] == (frame["h"], frame["w"]) == IMAGE_SIZE
        pose = np.array(frame["transform_matrix"])
        assert np.isclose(np.linalg.det(pose[:3, :3]), 1)
        for row, column in [(10, 8), (12, 16), (20, 30)]:
            u, v = FINE * (column + 0.5), FINE * (row + 0.5)
            ray = np.array([(u - frame["cx"]) / frame["fl_x"], -(v - frame["cy"]) / frame["fl_y"], -1.0])
            point = pose[:3, 3] + truth.sight().depth[row, column] * (pose[:3, :3] @ ray)
            assert np.abs(point - WALLS).min() < 1e-5  # metres, to one of the walls
            np.testing.assert_allclose(picture[int(v), int(u)], colors_at(point), atol=1)


def test_the_points_that_training_begins_with_are_beside_it(scene):
    plyfile = pytest.importorskip("plyfile", reason="reads PLY files; pip install plyfile")
    name = json.loads((scene / "transforms.json").read_text())["ply_file_path"]
    vertices = plyfile.PlyData.read(scene / name)["vertex"]
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=1), room_points().points)


def test_the_project_trains_on_it(scene):
    """The reader of training data takes it, but for the depth that a training sequence needs."""
    from dvlt_ros.training.data.readers import nerfstudio

    assert nerfstudio.is_root(scene)
