"""ETH3D's raw depth, which belongs to the distorted images, as depth of the undistorted ones.

Needs of each scene: the undistorted images and their calibration, the raw depth (ground_truth_depth/dslr_images)
and, of the distorted images' archive, the calibration (dslr_calibration_jpg).
"""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath

import numpy as np

from dvlt_ros.errors import DataError

from ..data.readers.colmap import ColmapCamera, camera_of, read_cameras, read_images
from ..data.readers.eth3d import CALIBRATION, DEPTH_FOLDER, SCENES, pinhole_of
from ..data.readers.optional import optional_package
from .jobs import HalfPixel, Job, copy_job

RAW_CALIBRATION = "dslr_calibration_jpg"
RAW_DEPTH = "ground_truth_depth/dslr_images"
RAW_MODEL = "THIN_PRISM_FISHEYE"
ROWS_AT_ONCE = 256  # of 4032; bounds the memory of the maps in double precision


def names(source: Path) -> list[str]:
    return list(SCENES)


def plan(source: Path, folder: Path, name: str, half_pixel: HalfPixel) -> list[Job]:
    """The files of one scene, its calibration last: a scene without it is not read.

    Raises:
        DataError: a missing or unreadable calibration, or no raw depth.
    """
    optional_package("OpenEXR", "writing ETH3D's depth")
    raw, scene = source / name, folder / name
    cameras, images = _calibration(raw, CALIBRATION)
    raw_cameras, raw_images = _calibration(raw, RAW_CALIBRATION)
    raw_by_name = {PurePosixPath(image.name).name: image for image in raw_images}
    jobs = []
    for image in images:
        file = PurePosixPath(image.name).name
        raw_depth = raw / RAW_DEPTH / file
        if file not in raw_by_name or not raw_depth.is_file():
            continue  # the benchmark leaves views without depth out
        camera = camera_of(image, cameras, "PINHOLE", raw / CALIBRATION)
        raw_camera = camera_of(raw_by_name[file], raw_cameras, RAW_MODEL, raw / RAW_CALIBRATION)
        jobs.append(copy_job(raw / "images" / image.name, scene / "images" / image.name))
        output = scene / DEPTH_FOLDER / f"{PurePosixPath(file).stem}.exr"
        jobs.append(Job(output, functools.partial(_write_depth, raw_depth, raw_camera, camera, half_pixel)))
    if not jobs:
        raise DataError(f"{raw / RAW_DEPTH}: no depth of any of the {len(images)} images")
    return [*jobs, *(copy_job(raw / CALIBRATION / n, scene / CALIBRATION / n) for n in ("images.txt", "cameras.txt"))]


def _calibration(scene: Path, folder: str) -> tuple:
    return read_cameras(scene / folder / "cameras.txt"), read_images(scene / folder / "images.txt")


def _write_depth(
    raw_depth: Path, raw_camera: ColmapCamera, camera: ColmapCamera, half_pixel: HalfPixel, partial: Path
) -> None:
    openexr = optional_package("OpenEXR", "writing ETH3D's depth")
    depth = undistort_depth(read_raw_depth(raw_depth, raw_camera.size), raw_camera, camera, half_pixel)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"Y": depth}).write(str(partial))


def read_raw_depth(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 metres, infinite where the laser saw nothing; the file has no header.

    Raises:
        DataError: a missing file, or one of another size.
    """
    try:
        depth = np.fromfile(path, dtype="<f4")
    except OSError as error:
        raise DataError(f"{path}: unreadable depth: {error}") from error
    if depth.size != size[0] * size[1]:
        raise DataError(f"{path}: {depth.size} values are not {size[1]} x {size[0]} of its camera")
    return depth.reshape(size)


def undistort_depth(
    raw_depth: np.ndarray, raw_camera: ColmapCamera, camera: ColmapCamera, half_pixel: HalfPixel
) -> np.ndarray:
    """Depth (H, W) of the pinhole camera, 0 where unknown: the raw value that each pixel's ray hits.

    The published way takes a pixel's corner for its ray and smears the raw image's rim over what lies outside.
    """
    rows, columns, inside = _raw_pixels(raw_camera, camera, half_pixel)
    depth = raw_depth[rows, columns]
    known = np.isfinite(depth) & (depth > 0)
    if half_pixel == "consistent":
        known &= inside
    return np.where(known, depth, np.float32(0))


@functools.lru_cache(maxsize=1)
def _raw_pixels(
    raw_camera: ColmapCamera, camera: ColmapCamera, half_pixel: HalfPixel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns (H, W) of the raw image, moved into it, and which were inside; as many frames share them."""
    (height, width), (raw_height, raw_width) = camera.size, raw_camera.size
    intrinsics, centre = pinhole_of(camera, RAW_MODEL), 0.5 if half_pixel == "consistent" else 0.0
    rows, columns = np.empty(camera.size, np.int16), np.empty(camera.size, np.int16)
    inside = np.empty(camera.size, bool)
    for first in range(0, height, ROWS_AT_ONCE):
        part = slice(first, min(first + ROWS_AT_ONCE, height))
        v, u = np.mgrid[part, :width] + centre
        rays = np.stack([(u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]], axis=-1)
        pixels = thin_prism_fisheye(rays, raw_camera.parameters)
        x, y = np.floor(pixels[..., 0]), np.floor(pixels[..., 1])
        inside[part] = (x >= 0) & (x < raw_width) & (y >= 0) & (y < raw_height)
        columns[part], rows[part] = x.clip(0, raw_width - 1), y.clip(0, raw_height - 1)
    return rows, columns, inside


def thin_prism_fisheye(rays: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Pixels (..., 2) of rays (..., 2) at z = 1 through COLMAP's camera of that name.

    Angles instead of tangents, then radial (k1 to k4), tangential (p1, p2) and thin-prism (sx1, sy1) terms:
    https://github.com/colmap/colmap, camera models; https://www.eth3d.net/documentation.

    Raises:
        DataError: other than its 12 parameters.
    """
    if len(parameters) != 12:
        raise DataError(f"a {RAW_MODEL} camera has 12 parameters, got {len(parameters)}")
    fx, fy, cx, cy, k1, k2, p1, p2, k3, k4, sx1, sy1 = parameters
    tangent = np.linalg.norm(rays, axis=-1)
    bent = np.divide(np.arctan(tangent), tangent, out=np.ones_like(tangent), where=tangent > 1e-12)
    x, y = rays[..., 0] * bent, rays[..., 1] * bent
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    distorted_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + sx1 * r2
    distorted_y = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) + sy1 * r2
    return np.stack([fx * distorted_x + cx, fy * distorted_y + cy], axis=-1)
