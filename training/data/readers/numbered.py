"""The plainest layout: color/NAME.jpg or .png, depth/NAME.png in millimetres, one trajectory row per frame.

As redistributed samples of RGB-D sets have it: frames in the order of names, poses in the order of rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens
from dvlt_ros.sources.poses import pose_from_quaternion
from dvlt_ros.sources.tum import trajectory_rows

from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence, first_image_size

POSES = "camera_poses_tum.txt"
LOOKED_FOR = f"color/, depth/ and {POSES}"
CODING = DepthCoding(metres_per_unit=1e-3, invalid=(65535,))


def is_root(path: Path) -> bool:
    return (path / POSES).is_file() and (path / "color").is_dir() and (path / "depth").is_dir()


def read(path: Path, intrinsics: tuple[float, float, float, float] | None = None) -> FolderSequence:
    """One folder. ``intrinsics`` are fx, fy, cx, cy with pixel (0, 0) centred at (0.5, 0.5).

    Without ``intrinsics``, a 3x3 matrix in camera-intrinsics.txt is read in the same convention.

    Raises:
        DataError: no intrinsics, or other numbers of images and poses.
    """
    images = sorted(file for file in (path / "color").iterdir() if file.suffix in (".jpg", ".png"))
    _, translations, quaternions = trajectory_rows(path / POSES)
    if len(images) != len(translations):
        raise DataError(f"{path}: {len(images)} images in color/ but {len(translations)} poses in {POSES}")
    fx, fy, cx, cy = _matrix_file(path) if intrinsics is None else intrinsics
    lens = Lens(fx, fy, cx, cy, first_image_size((str(image) for image in images), str(path)), source=str(path))

    def load(index: int) -> tuple[FrameFiles, np.ndarray]:
        image = images[index]
        pose = pose_from_quaternion(translations[index], quaternions[index], str(image))
        return FrameFiles(str(image), str(path / "depth" / f"{image.stem}.png"), lens), pose

    return build_sequence(path.resolve().name, range(len(images)), load, CODING)


def _matrix_file(path: Path) -> tuple[float, float, float, float]:
    file = path / "camera-intrinsics.txt"
    try:
        matrix = np.loadtxt(file).reshape(3, 3)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: pass intrinsics=(fx, fy, cx, cy), or provide {file.name} ({error})") from error
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])
