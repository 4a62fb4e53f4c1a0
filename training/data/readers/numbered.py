"""The plainest layout: color/NAME.jpg or .png, depth/NAME.png in millimetres, one trajectory row per frame.

As redistributed samples of RGB-D sets have it: frames in the order of names, poses of the colour camera in the order of
rows. Matrices in text files tell the cameras: camera-intrinsics.txt (3x3), and where depth is not registered to the
colours, depth-intrinsics.txt (3x3) and color-from-depth.txt (4x4, metres), by which it is registered while reading.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens, pinhole
from dvlt_ros.sources.poses import pose_from_quaternion
from dvlt_ros.sources.tum import trajectory_rows

from ..registration import DepthCamera
from ..sequence import rigid_pose
from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence, first_image_size

POSES = "camera_poses_tum.txt"
LOOKED_FOR = f"color/, depth/ and {POSES}"
COLOUR_INTRINSICS, DEPTH_INTRINSICS = "camera-intrinsics.txt", "depth-intrinsics.txt"
COLOUR_FROM_DEPTH = "color-from-depth.txt"
CODING = DepthCoding(metres_per_unit=1e-3, invalid=(65535,))


def is_root(path: Path) -> bool:
    return (path / POSES).is_file() and (path / "color").is_dir() and (path / "depth").is_dir()


def read(path: Path, intrinsics: tuple[float, float, float, float] | None = None) -> FolderSequence:
    """One folder. ``intrinsics`` are fx, fy, cx, cy with pixel (0, 0) centred at (0.5, 0.5).

    Without ``intrinsics``, the matrix in camera-intrinsics.txt is read in the same convention.

    Raises:
        DataError: no intrinsics, one of the depth camera's files without the other, or not as many images as
            poses.
    """
    images = sorted(file for file in (path / "color").iterdir() if file.suffix in (".jpg", ".png"))
    _, translations, quaternions = trajectory_rows(path / POSES)
    if len(images) != len(translations):
        raise DataError(f"{path}: {len(images)} images in color/ but {len(translations)} poses in {POSES}")
    fx, fy, cx, cy = _intrinsics(path) if intrinsics is None else intrinsics
    lens = Lens(fx, fy, cx, cy, first_image_size((str(image) for image in images), str(path)), source=str(path))
    depth_camera = _depth_camera(path)

    def load(index: int) -> tuple[FrameFiles, np.ndarray]:
        image = images[index]
        pose = pose_from_quaternion(translations[index], quaternions[index], str(image))
        return FrameFiles(str(image), str(path / "depth" / f"{image.stem}.png"), lens, depth_camera), pose

    return build_sequence(path.resolve().name, range(len(images)), load, CODING)


def _intrinsics(path: Path) -> tuple[float, float, float, float]:
    try:
        matrix = _matrix(path / COLOUR_INTRINSICS, 3)
    except DataError as error:
        raise DataError(f"pass intrinsics=(fx, fy, cx, cy), or provide {COLOUR_INTRINSICS}: {error}") from error
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def _depth_camera(path: Path) -> DepthCamera | None:
    """None: depth is registered to the colours."""
    files = path / DEPTH_INTRINSICS, path / COLOUR_FROM_DEPTH
    there = [file.is_file() for file in files]
    if not any(there):
        return None
    if not all(there):
        raise DataError(f"{path}: {files[there.index(True)].name} needs {files[there.index(False)].name} beside it")
    k = _matrix(files[0], 3)
    return DepthCamera(
        pinhole(k[0, 0], k[1, 1], k[0, 2], k[1, 2], str(files[0])), rigid_pose(_matrix(files[1], 4), str(files[1]))
    )


def _matrix(file: Path, size: int) -> np.ndarray:
    try:
        return np.loadtxt(file).reshape(size, size)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: no {size}x{size} matrix ({error})") from error
