"""Writers of the layouts that `open_dataset` reads."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.training.data.readers.seven_scenes import COLOUR_FROM_DEPTH

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
    """``poses`` are the colour camera's; beside raw depth those of the infrared camera are written, as published."""
    size = 240, 320
    rays = {f: scene.pixel_rays(np.array([[f / 2, 0, 160], [0, f / 2, 120], [0, 0, 1]]), size) for f in (525, 585)}
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose, rays[525])
        if depth_name == "depth.png":
            pose = pose @ COLOUR_FROM_DEPTH
            _, depth = scene.render(pose, rays[585])
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


def depth_intrinsics(scene) -> np.ndarray:
    """Of a camera with four times the colour camera's pixels, and a tenth more focal length."""
    return np.diag([4.0, 4.0, 1.0]) @ scene.intrinsics @ np.diag([1.1, 1.1, 1.0])


def write_numbered(root: Path, scene, poses: np.ndarray, colour_from_depth: np.ndarray | None = None) -> Path:
    """``colour_from_depth``: of another camera, which depth is of."""
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose)
        if colour_from_depth is not None:
            height, width = scene.size
            rays = scene.pixel_rays(depth_intrinsics(scene), (4 * height, 4 * width))
            _, depth = scene.render(pose @ colour_from_depth, rays)
        write_image(root / "color" / f"{i:04d}.png", image)
        write_depth(root / "depth" / f"{i:04d}.png", millimetres(depth))
    rows = [tum_row(i / 7.5, pose) for i, pose in enumerate(poses)]
    (root / "camera_poses_tum.txt").write_text("# time tx ty tz qx qy qz qw\n" + "\n".join(rows) + "\n")
    return root
