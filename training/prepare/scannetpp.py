"""ScanNet++: the laser scan's mesh as depth of the DSLR's fisheye images, then both undistorted.

Reads the published layout: splits/nvs_sem_val.txt and data/<id>/{dslr/resized_images, dslr/nerfstudio,
scans/mesh_aligned_0.05.ply}.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens

from ..data.readers.folder import read_image
from ..data.readers.nerfstudio import lens_of, load_json, pose_of
from ..data.readers.optional import optional_package
from ..data.readers.scannetpp import BENCHMARK_SPLIT, UNDISTORTED, WORLD_FROM_FILE, scenes_of
from ..data.sequence import rigid_pose
from .jobs import HalfPixel, Job, copy_job, write_image

MESH = "scans/mesh_aligned_0.05.ply"
NO_HIT = 1e30  # Embree answers more than this where a ray leaves the scene
MAX_RAY_ERROR_PX = 0.01
DROPPED_KEYS = ("k1", "k2", "k3", "k4", "p1", "p2", "aabb_scale")


def names(source: Path) -> list[str]:
    return scenes_of(source / "splits" / f"{BENCHMARK_SPLIT}.txt")


def plan(source: Path, folder: Path, name: str, half_pixel: HalfPixel) -> list[Job]:
    """The files of one scene, its list of frames last: a scene without it is not read. Images that are not on
    disk are left out.

    Raises:
        DataError: a missing or unreadable list or mesh, or no image.
        ConfigError: the ray caster is not installed.
    """
    for package in ("trimesh", "embreex"):
        optional_package(package, "casting rays at ScanNet++'s meshes")
    raw, scene = source / "data" / name, folder / UNDISTORTED / name
    transforms, mesh = raw / "dslr" / "nerfstudio" / "transforms.json", raw / MESH
    meta = load_json(transforms)
    if not mesh.is_file():
        raise DataError(f"{mesh}: missing mesh")
    jobs: list[Job] = []
    for entry in [*meta["frames"], *meta.get("test_frames", [])]:
        image = raw / "dslr" / "resized_images" / PurePosixPath(str(entry.get("file_path"))).name
        if not image.is_file():
            continue
        lens = _fisheye(meta, image, transforms)
        frame = _RawFrame(image, lens, mesh, rigid_pose(WORLD_FROM_FILE @ pose_of(entry, str(image)), str(image)))
        undistorted, depth = (
            scene / "undistorted_images" / image.name,
            scene / "undistorted_depth" / f"{image.stem}.png",
        )
        jobs.append(Job(undistorted, functools.partial(_write_image, frame, half_pixel)))
        jobs.append(Job(depth, functools.partial(_write_depth, frame, half_pixel)))
    if not jobs:
        raise DataError(f"{raw / 'dslr' / 'resized_images'}: none of the listed images is there")
    listing = Job(
        scene / "nerfstudio" / "transforms_undistorted.json",
        functools.partial(_write_list, meta, undistortion(lens, half_pixel).intrinsics),
    )
    split = f"{BENCHMARK_SPLIT}.txt"
    return [copy_job(source / "splits" / split, folder / split), *jobs, listing]


@dataclass(frozen=True, eq=False)
class _RawFrame:
    image: Path
    lens: Lens
    mesh: Path
    world_from_cam: np.ndarray  # (4, 4)


def _fisheye(meta: dict[str, Any], image: Path, source: Path) -> Lens:
    lens = lens_of(meta, {}, str(image), str(source))
    if lens.model != "equidistant":
        raise DataError(f"{source}: camera_model must be OPENCV_FISHEYE, got {meta.get('camera_model')!r}")
    return lens


@dataclass(frozen=True, eq=False)
class Undistortion:
    """From the fisheye image to a pinhole image of the same size with its principal point in the middle."""

    intrinsics: np.ndarray  # (3, 3)
    columns: np.ndarray  # (H, W) float32, where OpenCV (pixel centres at integers) takes each pixel from
    rows: np.ndarray  # (H, W) float32


@functools.lru_cache(maxsize=2)
def undistortion(lens: Lens, half_pixel: HalfPixel) -> Undistortion:
    """Balance 0: no pixel is empty. The published way gives OpenCV the calibration's numbers as they are."""
    (height, width), corner = lens.size, np.zeros((3, 3))
    corner[:2, 2] = 0.5 if half_pixel == "consistent" else 0.0
    k, d = lens.intrinsics - corner, np.array(lens.distortion)
    new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(k, d, (width, height), np.eye(3), balance=0.0)
    new[:2, 2] = width / 2, height / 2
    columns, rows = cv2.fisheye.initUndistortRectifyMap(k, d, np.eye(3), new - corner, (width, height), cv2.CV_32FC1)
    return Undistortion(new, columns, rows)


def _write_image(frame: _RawFrame, half_pixel: HalfPixel, partial: Path) -> None:
    maps, image = undistortion(frame.lens, half_pixel), read_image(str(frame.image))
    if image.shape[:2] != frame.lens.size:
        wanted = f"{frame.lens.size[1]} x {frame.lens.size[0]}"
        raise DataError(f"{frame.image}: size {image.shape[1]} x {image.shape[0]}, its camera has {wanted}")
    straight = cv2.remap(image, maps.columns, maps.rows, cv2.INTER_LINEAR)
    write_image(partial, cv2.cvtColor(straight, cv2.COLOR_RGB2BGR))


def _write_depth(frame: _RawFrame, half_pixel: HalfPixel, partial: Path) -> None:
    maps = undistortion(frame.lens, half_pixel)
    fisheye_depth = cast_depth(load_mesh(frame.mesh), frame.world_from_cam, fisheye_rays(frame.lens))
    if not fisheye_depth.any():
        raise DataError(f"{frame.image}: the camera does not see {frame.mesh}: another world?")
    depth = cv2.remap(fisheye_depth, maps.columns, maps.rows, cv2.INTER_NEAREST)
    write_image(partial, depth.astype(np.float16).view(np.uint16))


def _write_list(meta: dict[str, Any], intrinsics: np.ndarray, partial: Path) -> None:
    kept = {key: value for key, value in meta.items() if key not in DROPPED_KEYS}
    (fx, _, cx), (_, fy, cy) = intrinsics[:2].tolist()
    camera = {"camera_model": "PINHOLE", "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    partial.write_text(json.dumps(kept | camera, indent=1) + "\n", encoding="utf-8")


@functools.lru_cache(maxsize=2)
def fisheye_rays(lens: Lens) -> np.ndarray:
    """Camera-frame rays (H, W, 3) float32 through the pixel centres, z = 1; NaN where the lens looks sideways."""
    height, width = lens.size
    v, u = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    k, d = lens.intrinsics, np.array(lens.distortion)
    flat = cv2.fisheye.undistortPoints(pixels, k, d)
    missed = np.linalg.norm(cv2.fisheye.distortPoints(flat, k, d) - pixels, axis=-1) > MAX_RAY_ERROR_PX
    flat[missed] = np.nan  # the inverse did not converge, as it cannot from 90 degrees on
    return np.dstack([flat.reshape(height, width, 2), np.ones((height, width))]).astype(np.float32)


@functools.lru_cache(maxsize=1)
def load_mesh(path: Path) -> Any:
    """A mesh as Embree's scene.

    Raises:
        DataError: an unreadable mesh, or one without faces.
    """
    trimesh = optional_package("trimesh", "reading ScanNet++'s meshes")
    rtcore_scene = optional_package("embreex.rtcore_scene", "casting rays at ScanNet++'s meshes")
    construction = optional_package("embreex.mesh_construction", "casting rays at ScanNet++'s meshes")
    try:
        mesh = trimesh.load(path, process=False, force="mesh")
        corners = np.asarray(mesh.vertices, dtype=np.float32)[np.asarray(mesh.faces)]
    except Exception as error:  # the parser's own kinds
        raise DataError(f"{path}: unreadable mesh: {error}") from error
    if not len(corners):
        raise DataError(f"{path}: the mesh has no faces")
    scene = rtcore_scene.EmbreeScene()
    construction.TriangleMesh(scene, corners)
    return scene


def cast_depth(scene: Any, world_from_cam: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """z-depth (H, W) float32 along camera-frame rays (H, W, 3) with z = 1; 0 for NaN and where they leave the scene."""
    usable = np.isfinite(rays).all(axis=-1)
    directions = (rays[usable] @ world_from_cam[:3, :3].T).astype(np.float32)
    origins = np.tile(world_from_cam[:3, 3].astype(np.float32), (len(directions), 1))
    distances = scene.run(origins, directions, query="DISTANCE")
    depth = np.zeros(rays.shape[:2], dtype=np.float32)
    depth[usable] = np.where(distances < NO_HIT, distances, 0)
    return depth
