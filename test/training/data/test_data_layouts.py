"""Every layout on disk is written as its makers do, read back, and shows the scene from the right place."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from dvlt_ros.errors import DataError
from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.training.data.readers.layouts import open_dataset

FX, FY, CX, CY = 70.0, 72.0, 41.3, 28.9  # of the scene's camera, pixel (0, 0) at (0.5, 0.5)
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def write_depth(path: Path, stored: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), stored)


def millimetres(depth: np.ndarray) -> np.ndarray:
    return np.round(depth * 1000).astype(np.uint16)


def tum_row(stamp: float, pose: np.ndarray) -> str:
    import torch

    quaternion = quaternion_from_matrix(torch.from_numpy(pose[:3, :3])).tolist()
    return " ".join([f"{stamp:.6f}", *(f"{value:.7f}" for value in [*pose[:3, 3], *quaternion])])


def write_tum(root: Path, scene, poses: np.ndarray, rays: np.ndarray | None = None) -> Path:
    """Depth 6 ms late; ground truth every 10 ms around, moving evenly, so that interpolation is right."""
    colours, depths, truth = [], [], []
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose, rays)
        stamp = 1305031102.175304 + 0.2 * i
        write_image(root / "rgb" / f"{stamp:.6f}.png", image)
        write_depth(root / "depth" / f"{stamp + 0.006:.6f}.png", np.round(depth * 5000).astype(np.uint16))
        colours.append(f"{stamp:.6f} rgb/{stamp:.6f}.png")
        depths.append(f"{stamp + 0.006:.6f} depth/{stamp + 0.006:.6f}.png")
        for offset in (-0.005, 0.005):
            moved = pose.copy()
            moved[:3, 3] += offset * np.array([1.0, 2.0, -1.0])
            truth.append(tum_row(stamp + offset, moved))
    for name, rows in (("rgb", colours), ("depth", depths), ("groundtruth", truth)):
        (root / f"{name}.txt").write_text("\n".join([f"# {name}", *rows]) + "\n")
    return root


def write_seven_scenes(root: Path, scene, poses: np.ndarray, depth_name: str = "depth.png") -> Path:
    focal = {"depth.png": 585, "depth.proj.png": 525}[depth_name] * scene.size[1] / 640
    k = np.array([[focal, 0, scene.size[1] / 2], [0, focal, scene.size[0] / 2], [0, 0, 1]])
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose, scene.pixel_rays(k))
        stored = millimetres(depth)
        stored[:2, :3] = 65535
        write_image(root / f"frame-{i:06d}.color.png", image)
        write_depth(root / f"frame-{i:06d}.{depth_name}", stored)
        np.savetxt(root / f"frame-{i:06d}.pose.txt", pose, fmt="%.7e", delimiter="\t")
    return root


def nerfstudio_meta(poses: np.ndarray) -> dict:
    frames = [
        {
            "file_path": f"images/frame_{i}.png",
            "depth_file_path": f"depth/frame_{i}.png",
            "transform_matrix": (pose @ OPENGL).tolist(),
        }
        for i, pose in enumerate(poses)
    ]
    camera = {"fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY, "w": 80, "h": 60, "camera_model": "OPENCV"}
    return {**camera, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "frames": frames}


def write_nerfstudio(root: Path, scene, poses: np.ndarray, rays: np.ndarray | None = None, **changes) -> Path:
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose, rays)
        write_image(root / "images" / f"frame_{i}.png", image)
        write_depth(root / "depth" / f"frame_{i}.png", millimetres(depth))
    (root / "transforms.json").write_text(json.dumps(nerfstudio_meta(poses) | changes))
    return root


def write_scannetpp(root: Path, scene, poses: np.ndarray) -> Path:
    file_from_world = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    folder = root / "scannetpp_undistort" / "0a5c013435"
    frames = []
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose)
        (folder / "undistorted_images").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(
            str(folder / "undistorted_images" / f"DSC{i:05d}.JPG"),
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, 99],
        )
        write_depth(folder / "undistorted_depth" / f"DSC{i:05d}.png", depth.astype(np.float16).view(np.uint16))
        matrix = (file_from_world @ pose @ OPENGL).tolist()
        frames.append({"file_path": f"DSC{i:05d}.JPG", "transform_matrix": matrix})
    frames.append({"file_path": "DSC09999.JPG", "transform_matrix": np.eye(4).tolist()})  # skipped by preprocessing
    camera = {"fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY, "w": 80, "h": 60, "camera_model": "PINHOLE"}
    meta = {**camera, "frames": frames[1:], "test_frames": frames[:1]}
    (folder / "nerfstudio").mkdir()
    (folder / "nerfstudio" / "transforms_undistorted.json").write_text(json.dumps(meta))
    (root / "nvs_sem_val.txt").write_text("0a5c013435\n")
    (root / "nvs_sem_train.txt").write_text("something_else\n")
    return root


def write_numbered(root: Path, scene, poses: np.ndarray) -> Path:
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose)
        write_image(root / "color" / f"{i:04d}.png", image)
        write_depth(root / "depth" / f"{i:04d}.png", millimetres(depth))
    rows = [tum_row(i / 7.5, pose) for i, pose in enumerate(poses)]
    (root / "camera_poses_tum.txt").write_text("# time tx ty tz qx qy qz qw\n" + "\n".join(rows) + "\n")
    return root


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
    box_scene.check(sequences[0], poses)
    assert (sequences[0].frame(0).depth[:2, :3] == 0).all()
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
    box_scene.check(open_dataset(tmp_path, first=1, last=3)[0], poses[1:3])


def test_a_folder_of_unknown_layout_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"no known layout.*rgb.txt, depth.txt and groundtruth.txt.*transforms.json"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="format must be one of"):
        open_dataset(tmp_path, format="kitti")


def test_unknown_options_and_splits_are_refused(tmp_path, box_scene):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(2))
    with pytest.raises(DataError, match=r"nerfstudio layout has no option \['focal'\], only"):
        open_dataset(tmp_path, focal=3)
    with pytest.raises(DataError, match="nerfstudio layout has no splits"):
        open_dataset(tmp_path, split="train")
    with pytest.raises(DataError, match="frames 5 to None are none of its 2"):
        open_dataset(tmp_path, first=5)


def test_a_bad_sequence_among_good_ones_is_left_out(tmp_path, box_scene, caplog):
    write_nerfstudio(tmp_path / "good", box_scene, box_scene.poses(2))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "transforms.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        sequences = open_dataset(tmp_path)
    assert [sequence.name for sequence in sequences] == ["good"]
    assert "bad/transforms.json: unreadable" in caplog.text


def change_frame(root: Path, index: int, **changes) -> None:
    meta = json.loads((root / "transforms.json").read_text())
    meta["frames"][index] |= changes
    (root / "transforms.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((4, 4), np.nan), "NaN or infinite"),
        (np.diag([1.0, 1.1, 1.0, 1.0]), "not a rotation and a translation"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "mirrors"),
        (np.eye(3), "transform_matrix must be a 4x4 matrix"),
    ],
)
def test_bad_poses_are_left_out_with_their_cause(tmp_path, box_scene, caplog, matrix, message):
    poses = box_scene.poses(4)
    write_nerfstudio(tmp_path, box_scene, poses)
    change_frame(tmp_path, 1, transform_matrix=matrix.tolist())
    with caplog.at_level(logging.WARNING):
        (sequence,) = open_dataset(tmp_path)
    assert "1 of 4 frames left out" in caplog.text
    assert "frame_1.png" in caplog.text
    assert message in caplog.text
    box_scene.check(sequence, poses[[0, 2, 3]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fl_x": -1.0}, "intrinsics must be finite and above 0, got {'fx': -1.0}"),
        ({"fl_x": float("nan")}, "intrinsics must be finite"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model EQUIRECTANGULAR is not supported"),
        ({"k4": 0.1}, "camera_model OPENCV with k4 is not supported"),
        ({"applied_scale": 0.0}, "applied_scale must be above 0"),
        ({"applied_transform": [[1.0]]}, "applied_transform must be"),
        ({"applied_scale": "one"}, "applied_scale must be above 0, got 'one'"),
        ({"depth_unit_scale_factor": None}, "depth_unit_scale_factor must be above 0, got None"),
        ({"cx": "middle"}, "intrinsics must be numbers"),
        ({"frames": []}, "no list of frames"),
        ({"frames": [1]}, "no list of frames"),
        ({"frames": [{"file_path": "a.png"}]}, "missing depth: the frame has no depth_file_path"),
    ],
)
def test_bad_transforms_files(tmp_path, box_scene, changes, message):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(2), **changes)
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_bad_files_name_themselves_and_the_cause(tmp_path, box_scene):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(8))
    (sequence,) = open_dataset(tmp_path)
    images, depths = tmp_path / "images", tmp_path / "depth"
    (images / "frame_0.png").unlink()
    (images / "frame_1.png").write_bytes(b"not an image")
    (depths / "frame_2.png").unlink()
    (depths / "frame_3.png").write_bytes(b"")
    write_depth(depths / "frame_4.png", np.full((30, 40), 1000, np.uint16))
    write_depth(depths / "frame_5.png", np.zeros((60, 80), np.uint16))
    write_depth(depths / "frame_6.png", np.full((60, 80), 10, np.uint8))
    causes = {
        0: "frame_0.png: missing image",
        1: "frame_1.png: unreadable image",
        2: "frame_2.png: missing depth",
        3: "frame_3.png: unreadable depth",
        4: "frame_4.png: size 40 x 30, the camera has 80 x 60",
        5: "frame_5.png: missing depth: no pixel has a valid value",
        6: "frame_6.png: depth must be a 16-bit image of one channel",
    }
    for index, cause in causes.items():
        with pytest.raises(DataError) as error:
            sequence.frame(index)
        assert cause in str(error.value)
    sequence.frame(7)


@pytest.mark.parametrize(
    ("unit", "message"),
    [(1.0, "looks like millimetres read as metres"), (1e-6, "looks like metres read as millimetres")],
)
def test_depth_in_the_wrong_unit_says_so(tmp_path, box_scene, unit, message):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(2), depth_unit_scale_factor=unit)
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(DataError, match=message):
        sequence.frame(0)


def test_poses_in_millimetres_are_noticed(tmp_path, box_scene):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(3), applied_scale=1e-3)
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(DataError, match="the poses look like millimetres"):
        sequence.frame(0)


def test_tum_frames_without_depth_or_pose_are_left_out(tmp_path, box_scene, caplog):
    poses = box_scene.poses(4)
    write_tum(tmp_path, box_scene, poses)
    truth = (tmp_path / "groundtruth.txt").read_text().splitlines()
    nan = truth[3].split()
    nan[1] = "nan"
    (tmp_path / "groundtruth.txt").write_text("\n".join([*truth[:3], " ".join(nan), *truth[4:]]))
    depths = (tmp_path / "depth.txt").read_text().splitlines()
    (tmp_path / "depth.txt").write_text("\n".join(depths[:-1]))
    with caplog.at_level(logging.WARNING):
        (sequence,) = open_dataset(tmp_path, intrinsics=(FX, FY, CX - 0.5, CY - 0.5))
    assert "1 of 8 poses left out" in caplog.text
    assert "2 of 4 frames left out" in caplog.text
    box_scene.check(sequence, poses[[0, 2]])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("groundtruth.txt", "1 2 3\n", "a row has 8 values"),
        ("groundtruth.txt", "1 0 0 0 0 0 zero 1\n", "could not convert"),
        ("groundtruth.txt", "", "no poses"),
        ("groundtruth.txt", "1 0 0 0 0 0 0 0\n", "all 1 poses are NaN or not rotations"),
        ("rgb.txt", "# nothing\n", "rows are a time and a file name"),
        ("depth.txt", "soon depth/1.png\n", "'soon' is not a time in seconds"),
    ],
)
def test_bad_tum_lists(tmp_path, box_scene, file, text, message):
    write_tum(tmp_path, box_scene, box_scene.poses(2))
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path, camera="freiburg3")
    assert message in str(error.value)
    assert file in str(error.value)


def test_tum_asks_for_the_camera(tmp_path, box_scene):
    write_tum(tmp_path / "office", box_scene, box_scene.poses(2))
    with pytest.raises(DataError, match="does not tell the camera"):
        open_dataset(tmp_path / "office")
    with pytest.raises(DataError, match="got 'freiburg9'"):
        open_dataset(tmp_path / "office", camera="freiburg9")
