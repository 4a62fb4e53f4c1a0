"""Recordings in every layout show the scene they were taken of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from layout_writers import (
    CX,
    CY,
    FX,
    FY,
    depth_intrinsics,
    nerfstudio_meta,
    write_nerfstudio,
    write_numbered,
    write_scannetpp,
    write_seven_scenes,
    write_tum,
)

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.readers.layouts import open_dataset

SEEN_FROM_BESIDE = 0.7  # share of the colour image that a depth camera with a longer focal length sees


def test_tum(tmp_path, box_scene):
    poses = box_scene.poses()
    write_tum(tmp_path, box_scene, poses)
    (sequence,) = open_dataset(tmp_path, intrinsics=(FX, FY, CX - 0.5, CY - 0.5))
    box_scene.check(sequence, poses)
    assert not sequence.is_synthetic


def test_tum_freiburg1_is_rectified(tmp_path, box_scene):
    k = np.array([[517.306408, 0, 318.643040], [0, 516.469215, 255.313989], [0, 0, 1]])
    distortion = np.array([0.262383, -0.953104, -0.005358, 0.002628, 1.163314])
    v, u = np.mgrid[:480, :640].astype(float)
    rays = cv2.undistortPoints(np.stack([u, v], axis=-1).reshape(-1, 1, 2), k, distortion).reshape(480, 640, 2)
    poses = box_scene.poses(2)
    write_tum(tmp_path / "rgbd_dataset_freiburg1_xyz", box_scene, poses, np.dstack([rays, np.ones((480, 640))]))
    (sequence,) = open_dataset(tmp_path)
    box_scene.check(sequence, poses)


@pytest.mark.parametrize("depth_name", ["depth.png", "depth.proj.png"])
def test_seven_scenes(tmp_path, box_scene, depth_name):
    poses = box_scene.poses()
    for name in ("seq-01", "seq-02"):
        write_seven_scenes(tmp_path / "chess" / name, box_scene, poses, depth_name)
    (tmp_path / "chess" / "TestSplit.txt").write_text("sequence2\n")
    sequences = open_dataset(tmp_path)
    assert [sequence.name for sequence in sequences] == ["chess/seq-01", "chess/seq-02"]
    box_scene.check(sequences[0], poses, SEEN_FROM_BESIDE if depth_name == "depth.png" else 0.9)
    assert sequences[0].frame(0).depth.max() < 60  # 65535 is no depth of 65 m
    assert [sequence.name for sequence in open_dataset(tmp_path, split="test")] == ["chess/seq-02"]


def test_nerfstudio(tmp_path, box_scene):
    poses = box_scene.poses(11)
    write_nerfstudio(tmp_path, box_scene, poses)
    (sequence,) = open_dataset(tmp_path)
    box_scene.check(sequence, poses)  # frame_10 comes after frame_9


def test_nerfstudio_with_applied_transform_scale_and_its_own_cameras(tmp_path, box_scene):
    poses = box_scene.poses(3)
    applied = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
    meta = nerfstudio_meta(np.stack([np.vstack([applied, [0, 0, 0, 1]]) @ pose for pose in poses]))
    for frame in meta["frames"]:
        frame["transform_matrix"] = np.array(frame["transform_matrix"])
        frame["transform_matrix"][:3, 3] *= 0.25
        frame["transform_matrix"] = frame["transform_matrix"].tolist()
        frame.update(fl_x=FX, fl_y=FY)
    write_nerfstudio(
        tmp_path,
        box_scene,
        poses,
        frames=meta["frames"],
        fl_x=1.0,
        applied_transform=applied.tolist(),
        applied_scale=0.25,
    )
    (sequence,) = open_dataset(tmp_path, format="nerfstudio")
    box_scene.check(sequence, poses)
    np.testing.assert_allclose(sequence.world_from_cam, poses, atol=1e-9)


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE"])
def test_nerfstudio_distorted(tmp_path, box_scene, model):
    coefficients = {"OPENCV": [-0.2, 0.05, 0.002, -0.003], "OPENCV_FISHEYE": [0.1, -0.05, 0.02, -0.01]}[model]
    k = np.diag([4.0, 4, 1]) @ box_scene.intrinsics  # the nearest depth is within 1 % at four times the size
    camera = {"fl_x": 4 * FX, "fl_y": 4 * FY, "cx": 4 * CX, "cy": 4 * CY, "w": 320, "h": 240}
    k[:2, 2] -= 0.5
    v, u = np.mgrid[:240, :320].astype(float)
    undistort = cv2.undistortPoints if model == "OPENCV" else cv2.fisheye.undistortPoints
    rays = undistort(np.stack([u, v], axis=-1).reshape(-1, 1, 2), k, np.array(coefficients)).reshape(240, 320, 2)
    names = ("k1", "k2", "p1", "p2") if model == "OPENCV" else ("k1", "k2", "k3", "k4")
    poses = box_scene.poses(3)
    write_nerfstudio(
        tmp_path,
        box_scene,
        poses,
        np.dstack([rays, np.ones((240, 320))]),
        camera_model=model,
        **camera,
        **dict(zip(names, coefficients, strict=True)),
    )
    (sequence,) = open_dataset(tmp_path)
    box_scene.check(sequence, poses)


def test_scannetpp(tmp_path, box_scene):
    poses = box_scene.poses()
    write_scannetpp(tmp_path, box_scene, poses)
    (sequence,) = open_dataset(tmp_path, split="nvs_sem_val")
    box_scene.check(sequence, poses)
    with pytest.raises(DataError, match="no sequence in split 'nvs_sem_train'"):
        open_dataset(tmp_path, split="nvs_sem_train")


def test_numbered(tmp_path, box_scene):
    poses = box_scene.poses()
    write_numbered(tmp_path, box_scene, poses)
    with pytest.raises(DataError, match=r"pass intrinsics=\(fx, fy, cx, cy\)"):
        open_dataset(tmp_path)
    (sequence,) = open_dataset(tmp_path, intrinsics=(FX, FY, CX, CY))
    box_scene.check(sequence, poses)
    np.savetxt(tmp_path / "camera-intrinsics.txt", box_scene.intrinsics)
    box_scene.check(open_dataset(tmp_path, frames=(1, 3))[0], poses[1:3])


def test_depth_of_a_camera_beside_is_registered(tmp_path, box_scene):
    poses, colour_from_depth = box_scene.poses(), np.eye(4)
    colour_from_depth[:3, :3] = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))[0]
    colour_from_depth[:3, 3] = -0.03, 0.002, 0.001
    write_numbered(tmp_path, box_scene, poses, colour_from_depth)
    np.savetxt(tmp_path / "camera-intrinsics.txt", box_scene.intrinsics)
    np.savetxt(tmp_path / "depth-intrinsics.txt", depth_intrinsics(box_scene))
    with pytest.raises(DataError, match=r"depth-intrinsics\.txt needs color-from-depth\.txt beside it"):
        open_dataset(tmp_path)
    np.savetxt(tmp_path / "color-from-depth.txt", colour_from_depth)
    box_scene.check(open_dataset(tmp_path)[0], poses, SEEN_FROM_BESIDE)
    np.savetxt(tmp_path / "color-from-depth.txt", 2 * colour_from_depth)
    with pytest.raises(DataError, match=r"color-from-depth\.txt: the pose is not a rotation"):
        open_dataset(tmp_path)
