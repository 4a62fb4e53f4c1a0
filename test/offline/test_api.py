"""From Python: the same as the command line, in memory."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from dvlt_ros.api import reconstruct
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import ConfigError, DataError, InputError

COUNT = 4
QUICK = {"model_image_size": 56, "budget_k_max": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, folder)
    (folder / "zz.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def scene(folder, output):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dvlt_ros.offline.results.write_page", lambda *_: None)  # it takes longer than the rest
        return reconstruct(folder, output, **QUICK)


def test_three_lines_give_poses_depth_cloud_and_files(scene, output):
    assert scene.names == ("000.jpg", "001.jpg", "002.jpg", "003.jpg")
    assert scene.poses.shape == (COUNT, 4, 4)
    assert scene.depth.shape == scene.confidence.shape == scene.images.shape[:3] == (COUNT, 42, 56)
    assert len(scene.cloud.points) > 1000
    assert (scene.is_metric, scene.others) == (False, ())
    assert f"{COUNT} frames in" in scene.summary
    assert len(scene.refused) == 1
    assert "zz.jpg: " in scene.refused[0]
    assert np.loadtxt(output / "trajectory_0.txt")[:, 1:4] == pytest.approx(scene.poses[:, :3, 3], abs=1e-8)
    for view, path in zip(scene.views, sorted((output / "depth").iterdir()), strict=True):
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), view.depth)


def test_cameras_and_depth_are_those_of_the_cloud(scene):
    """A pixel's point, by its view's pose, intrinsics and depth, lies in the cloud within a voxel."""
    view = scene.views[2]
    v, u = np.argwhere(np.isfinite(view.depth))[500]
    ray = np.linalg.inv(view.intrinsics) @ [u + 0.5, v + 0.5, 1.0]
    point = view.world_from_cam[:3, :3] @ (view.depth[v, u] * ray) + view.world_from_cam[:3, 3]
    nearest = np.linalg.norm(scene.cloud.points - point, axis=1).min()
    assert nearest < 0.03 * np.nanmedian(view.depth)


def test_without_a_folder_there_are_no_files(folder, scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = reconstruct(folder, **QUICK)
    np.testing.assert_array_equal(again.poses, scene.poses)
    np.testing.assert_array_equal(again.depth, scene.depth)
    assert not list(tmp_path.iterdir())


def test_what_cannot_work_is_an_error_of_one_line(folder, tmp_path):
    with pytest.raises(ConfigError, match="unrecognized arguments: --windows"):
        reconstruct(folder, windows=3)
    with pytest.raises(ConfigError, match="--window-size"):
        reconstruct(folder, window_size="many")
    with pytest.raises(ConfigError, match=r"window\.size must be at least 2"):
        reconstruct(folder, window_size=1)
    with pytest.raises(DataError, match="nowhere: no such file"):
        reconstruct(tmp_path / "nowhere")


def test_views_of_several_shapes_are_not_stacked(scene):
    from dataclasses import replace

    one = replace(scene.views[0], depth=scene.views[0].depth[:-1])
    with pytest.raises(InputError, match="depth: the views have several shapes"):
        _ = replace(scene, views=(one, *scene.views[1:])).depth
