"""The five benchmarks as tiny folders: as they are downloaded, and as their loaders read them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from dvlt_ros.geometry import quaternion_from_matrix

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
SCANNETPP_FILE_FROM_WORLD = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
SCANNETPP_ID = "0a5c013435"


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [] if path.suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 99]
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)


def write_grey(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


def wxyz(rotation: np.ndarray) -> list[float]:
    x, y, z, w = quaternion_from_matrix(torch.from_numpy(np.ascontiguousarray(rotation))).tolist()
    return [w, x, y, z]


def scaled(intrinsics: np.ndarray, factor: float) -> np.ndarray:
    return np.diag([factor, factor, 1.0]) @ intrinsics


def write_dtu(root: Path, scene, poses: np.ndarray, scan: str = "scan1", unit_m: float = 1e-3) -> Path:
    folder = root / "dtu" / scan
    for name in ("cams", "depths"):
        (folder / name).mkdir(parents=True)
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose)
        write_image(folder / "images" / f"{i:08d}.jpg", image)
        write_grey(folder / "binary_masks" / f"{i:08d}.png", np.full(scene.size, 255, np.uint8))
        np.save(folder / "depths" / f"{i:08d}.npy", depth / unit_m)
        cam_from_world = np.linalg.inv(pose)
        cam_from_world[:3, 3] /= unit_m
        matrices = (cam_from_world, scene.intrinsics)
        extrinsic, intrinsic = ("\n".join(" ".join(f"{v:.9f}" for v in row) for row in m) for m in matrices)
        text = f"extrinsic\n{extrinsic}\n\nintrinsic\n{intrinsic}\n\n425.0 2.5\n"
        (folder / "cams" / f"{i:08d}_cam.txt").write_text(text)
    return folder


def colmap_text(folder: Path, model: str, size: tuple[int, int], parameters, poses: np.ndarray, prefix: str) -> None:
    """Images last to first, for COLMAP does not sort them."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = " ".join(f"{value:.9g}" for value in parameters)
    (folder / "cameras.txt").write_text(f"# cameras\n7 {model} {size[1]} {size[0]} {numbers}\n")
    lines = ["# images"]
    for i in reversed(range(len(poses))):
        cam_from_world = np.linalg.inv(poses[i])
        values = [*wxyz(cam_from_world[:3, :3]), *cam_from_world[:3, 3]]
        points = "12.5 30.1 -1" if i else ""  # an image may see no points
        lines += [f"{i + 1} {' '.join(f'{v:.12f}' for v in values)} 7 {prefix}/DSC_{i:04d}.JPG", points]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def pinhole_parameters(intrinsics: np.ndarray) -> list[float]:
    return [intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]]


def write_exr(path: Path, depth: np.ndarray) -> None:
    import OpenEXR

    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Y": depth}).write(str(path))


def write_eth3d(root: Path, scene, poses: np.ndarray, name: str = "relief", unit_m: float = 1.0) -> Path:
    folder = root / "eth3d" / name
    parameters = pinhole_parameters(scene.intrinsics)
    calibration = folder / "dslr_calibration_undistorted"
    colmap_text(calibration, "PINHOLE", scene.size, parameters, poses, "dslr_images_undistorted")
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose)
        depth[0, :3] = np.inf, np.nan, 0
        write_image(folder / "images" / "dslr_images_undistorted" / f"DSC_{i:04d}.JPG", image)
        path = folder / "ground_truth_depth" / "dslr_images_undistorted" / f"DSC_{i:04d}.exr"
        write_exr(path, (depth / unit_m).astype(np.float32))
    return folder


def write_raw_eth3d(source: Path, scene, poses: np.ndarray, factor: int, parameters, rays: np.ndarray) -> Path:
    """``rays`` (H, W, 3) are the raw camera's, the size of which is that of the undistorted one too."""
    folder, intrinsics = source / "relief", scaled(scene.intrinsics, factor)
    size = (factor * scene.size[0], factor * scene.size[1])
    undistorted = folder / "dslr_calibration_undistorted"
    colmap_text(undistorted, "PINHOLE", size, pinhole_parameters(intrinsics), poses, "dslr_images_undistorted")
    colmap_text(folder / "dslr_calibration_jpg", "THIN_PRISM_FISHEYE", size, parameters, poses, "dslr_images")
    raw_depth = folder / "ground_truth_depth" / "dslr_images"
    raw_depth.mkdir(parents=True)
    for i, pose in enumerate(poses):
        image, _ = scene.render(pose, scene.pixel_rays(intrinsics, size))
        write_image(folder / "images" / "dslr_images_undistorted" / f"DSC_{i:04d}.JPG", image)
        _, depth = scene.render(pose, rays)
        depth[:2] = np.inf
        depth.astype("<f4").tofile(raw_depth / f"DSC_{i:04d}.JPG")
    return folder


def seven_scenes_rays(scene, focal: float) -> np.ndarray:
    return scene.pixel_rays(np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1.0]]), (480, 640))


def write_seven_scenes(
    folder: Path, scene, poses: np.ndarray, projected: bool, depth_from: np.ndarray | None = None, unit_m: float = 1e-3
) -> Path:
    """Every 11th frame is real; those between have no pose and no image, for the benchmark may not read them.

    ``depth_from`` is colour_from_depth of the infrared camera that sees raw depth.
    """
    folder.mkdir(parents=True)
    _, nothing = cv2.imencode(".png", np.zeros((480, 640), np.uint16))
    for number in range(11 * (len(poses) - 1) + 3):
        stem = folder / f"frame-{number:06d}"
        if number % 11:
            for end in ("color.png", "pose.txt"):
                Path(f"{stem}.{end}").touch()
            Path(f"{stem}.depth.png").write_bytes(nothing.tobytes())
            continue
        pose = poses[number // 11]
        image, depth = scene.render(pose, seven_scenes_rays(scene, 525.0))
        write_image(Path(f"{stem}.color.png"), image)
        np.savetxt(f"{stem}.pose.txt", pose, fmt="%.7e", delimiter="\t")
        if not projected:
            _, depth = scene.render(pose @ depth_from, seven_scenes_rays(scene, 585.0))
        stored = np.round(depth / unit_m).astype(np.uint16)
        stored[0, :4] = 0, 65535, 99, 10001
        write_grey(Path(f"{stem}.depth.proj.png" if projected else f"{stem}.depth.png"), stored)
    return folder


def scannetpp_frames(poses: np.ndarray) -> list[dict]:
    matrices = [(SCANNETPP_FILE_FROM_WORLD @ pose @ OPENGL).tolist() for pose in poses]
    return [{"file_path": f"DSC{i:05d}.JPG", "transform_matrix": matrix} for i, matrix in enumerate(matrices)]


def scannetpp_meta(intrinsics: np.ndarray, size: tuple[int, int], poses: np.ndarray) -> dict:
    fx, fy, cx, cy = pinhole_parameters(intrinsics)
    frames = scannetpp_frames(poses)
    camera = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": size[1], "h": size[0]}
    return {**camera, "frames": frames[1:], "test_frames": frames[:1]}


def write_scannetpp(root: Path, scene, poses: np.ndarray, scene_id: str = SCANNETPP_ID) -> Path:
    folder = root / "scannetpp" / "scannetpp_undistort" / scene_id
    for i, pose in enumerate(poses):
        image, depth = scene.render(pose)
        write_image(folder / "undistorted_images" / f"DSC{i:05d}.JPG", image)
        write_grey(folder / "undistorted_depth" / f"DSC{i:05d}.png", depth.astype(np.float16).view(np.uint16))
    (folder / "nerfstudio").mkdir()
    meta = scannetpp_meta(scene.intrinsics, scene.size, poses) | {"camera_model": "PINHOLE"}
    (folder / "nerfstudio" / "transforms_undistorted.json").write_text(json.dumps(meta))
    (root / "scannetpp" / "nvs_sem_val.txt").write_text(f"{scene_id}\n")
    return folder


def write_raw_scannetpp(source: Path, scene, poses: np.ndarray, factor: int, distortion: np.ndarray) -> Path:
    folder, intrinsics = source / "data" / SCANNETPP_ID, scaled(scene.intrinsics, factor)
    height, width = factor * scene.size[0], factor * scene.size[1]
    v, u = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    flat = cv2.fisheye.undistortPoints(pixels, intrinsics, distortion).reshape(height, width, 2)
    for i, pose in enumerate(poses):
        image, _ = scene.render(pose, np.dstack([flat, np.ones((height, width))]))
        write_image(folder / "dslr" / "resized_images" / f"DSC{i:05d}.JPG", image)
    meta = scannetpp_meta(intrinsics, (height, width), poses) | {"camera_model": "OPENCV_FISHEYE"}
    meta |= dict(zip(("k1", "k2", "k3", "k4"), distortion.tolist(), strict=True))
    for name in ("dslr/nerfstudio", "scans"):
        (folder / name).mkdir()
    (folder / "dslr" / "nerfstudio" / "transforms.json").write_text(json.dumps(meta))
    write_box_mesh(folder / "scans" / "mesh_aligned_0.05.ply", scene.half)
    (source / "splits").mkdir()
    (source / "splits" / "nvs_sem_val.txt").write_text(f"{SCANNETPP_ID}\n")
    return folder


def write_box_mesh(path: Path, half: np.ndarray) -> None:
    corners = [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)] * half
    quads = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    faces = [part for a, b, c, d in quads for part in ((a, b, c), (a, c, d))]
    header = ["ply", "format ascii 1.0", f"element vertex {len(corners)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    rows = [" ".join(map(str, row)) for row in corners.tolist()] + [f"3 {a} {b} {c}" for a, b, c in faces]
    path.write_text("\n".join([*header, *rows]) + "\n")


def write_nuscenes(root: Path, scene, poses: np.ndarray, name: str = "scene-0103", unit_m: float = 1.0) -> Path:
    """The world is another one than the first camera's; one depth is beyond 100 m."""
    import h5py

    path = root / "nuscenes" / "trainval" / name / "scene.h5"
    path.parent.mkdir(parents=True)
    away = np.eye(4)
    away[:3, 3] = 1000.0, 2000.0, 5.0
    with h5py.File(path, "w") as file:
        depths = []
        for i, pose in enumerate(poses):
            image, depth = scene.render(pose)
            _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 99])
            file[f"images/{i}"] = np.frombuffer(encoded.tobytes(), np.uint8)
            depth[0, 0] = 100.5
            depths.append(depth / unit_m)
        file["depths"] = np.stack(depths).astype(np.float32)
        file["extrinsics_c2w"] = away @ poses
        file["intrinsics"] = np.stack([scene.intrinsics] * len(poses))
    return path


def write_raw_nuscenes(source: Path, scene, poses: np.ndarray) -> Path:
    """A car whose lidar looks the same way as its camera, 0.3 m above; noise and its own roof hide everything."""
    car_from_cam, car_from_lidar = np.eye(4), np.eye(4)
    car_from_cam[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    car_from_cam[:3, 3] = 0.2, 0.05, 0.1
    car_from_lidar[:3, 3] = 0.0, 0.02, 0.4
    tables: dict[str, list[dict]] = {
        "category": [{"name": "noise", "index": 0}, {"name": "wall", "index": 5}, {"name": "vehicle.ego", "index": 31}],
        "scene": [{"name": "scene-0103", "first_sample_token": "sample0"}],
        "calibrated_sensor": [
            {"token": "cam", **_placed(car_from_cam), "camera_intrinsic": scene.intrinsics.tolist()},
            {"token": "lidar", **_placed(car_from_lidar), "camera_intrinsic": []},
        ],
        "sample": [], "sample_data": [], "ego_pose": [], "lidarseg": [],
    }  # fmt: skip
    for folder in ("samples/CAM_FRONT", "samples/LIDAR_TOP", "lidarseg/v1.0-trainval", "v1.0-trainval"):
        (source / folder).mkdir(parents=True, exist_ok=True)
    for i, pose in enumerate(poses):
        following = f"sample{i + 1}" if i + 1 < len(poses) else ""
        tables["sample"].append({"token": f"sample{i}", "next": following})
        global_from_car = pose @ np.linalg.inv(car_from_cam)
        later = global_from_car.copy()  # when the lidar looks, the car is further on
        later[:3, 3] += 0.05
        image, _ = scene.render(pose)
        write_image(source / "samples" / "CAM_FRONT" / f"{i}.jpg", image)
        points, labels = _sweep(scene, later @ car_from_lidar)
        points.astype("<f4").tofile(source / "samples" / "LIDAR_TOP" / f"{i}.pcd.bin")
        labels.tofile(source / "lidarseg" / "v1.0-trainval" / f"lidar{i}_lidarseg.bin")
        tables["lidarseg"].append(
            {"sample_data_token": f"lidar{i}", "filename": f"lidarseg/v1.0-trainval/lidar{i}_lidarseg.bin"}
        )
        for kind, mount, file, ego in (
            ("cam", "cam", f"samples/CAM_FRONT/{i}.jpg", global_from_car),
            ("lidar", "lidar", f"samples/LIDAR_TOP/{i}.pcd.bin", later),
            ("between", "cam", f"sweeps/CAM_FRONT/{i}.jpg", later),
        ):
            row = {"token": f"{kind}{i}", "sample_token": f"sample{i}", "filename": file}
            row |= {"ego_pose_token": f"ego-{kind}{i}", "calibrated_sensor_token": mount}
            tables["sample_data"].append({**row, "is_key_frame": kind != "between"})
            tables["ego_pose"].append({"token": f"ego-{kind}{i}", **_placed(ego)})
    for table, rows in tables.items():
        (source / "v1.0-trainval" / f"{table}.json").write_text(json.dumps(rows))
    return source


def _placed(pose: np.ndarray) -> dict:
    return {"translation": pose[:3, 3].tolist(), "rotation": wxyz(pose[:3, :3])}


def _sweep(scene, world_from_lidar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 5) of the box in front of the lidar, and labels (N,); among them noise right before it."""
    lidar_from_eye = np.eye(4)
    lidar_from_eye[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    x, y = np.random.default_rng(0).uniform([[[-0.8]], [[-0.6]]], [[[0.8]], [[0.6]]], (2, 40, 50))
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    _, depth = scene.render(world_from_lidar @ lidar_from_eye, rays)
    points = (rays * depth[..., None]).reshape(-1, 3) @ lidar_from_eye[:3, :3].T
    noise = (rays * 0.5).reshape(-1, 3) @ lidar_from_eye[:3, :3].T
    values = np.zeros((len(points) + len(noise), 5))
    values[:, :3] = np.concatenate([points, noise])
    labels = np.full(len(values), 5, np.uint8)
    labels[len(points) :: 2], labels[len(points) + 1 :: 2] = 0, 31
    return values, labels
