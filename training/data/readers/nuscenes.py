"""nuScenes (Caesar et al., CVPR 2020), validation scenes of the front camera with lidar depth, in metres.

``prepare nuscenes`` makes the scene.h5 files of the published tables, images and lidar sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dvlt_ros.errors import DataError

from ..benchmark_sequence import BenchmarkSequence, evenly, require_one_of
from ..sequence import rigid_pose
from .optional import optional_package

SCENES = tuple(
    f"scene-{number:04d}"
    for number in (
        13, 16, 35, 39, 94, 97, 100, 103, 106, 109, 268, 271, 274, 277, 330, 344, 519, 522, 552, 555, 558, 561, 564,
        626, 630, 634, 637, 771, 778, 782, 794, 797, 800, 905, 908, 911, 914, 917, 921, 924, 927, 930, 963, 968, 972,
        1061, 1064, 1067, 1070, 1073,
    )
)  # fmt: skip
LOOKED_FOR = "trainval/scene-NNNN/scene.h5"
MAX_VIEWS = 50
MAX_DEPTH_M = 100.0


def scene_file(folder: Path, name: str) -> Path:
    return folder / "trainval" / name / "scene.h5"


def sequences(folder: Path) -> list[str]:
    return list(SCENES)


def open_sequence(folder: Path, name: str) -> BenchmarkSequence:
    """At most 50 keyframes, evenly spaced; the world is the first keyframe's camera.

    Raises:
        DataError: a missing or unreadable file, or arrays of unequal length.
        ConfigError: h5py is not installed.
    """
    require_one_of(name, SCENES, str(folder))
    path = scene_file(folder, name)
    with open_h5(path) as file:
        try:
            global_from_cam = np.asarray(file["extrinsics_c2w"], dtype=np.float64)
            intrinsics = np.asarray(file["intrinsics"], dtype=np.float64)
            count, depths = len(file["images"]), file["depths"].shape[0]
        except (KeyError, AttributeError, ValueError, OSError) as error:
            raise DataError(f"{path}: unreadable scene: {error}") from error
    if not count or {len(global_from_cam), len(intrinsics), depths} != {count}:
        lengths = f"{depths} depths, {len(global_from_cam)} poses, {len(intrinsics)} intrinsics"
        raise DataError(f"{path}: {count} images but {lengths}")
    if intrinsics.shape[1:] != (3, 3):
        raise DataError(f"{path}: intrinsics must be (N, 3, 3), got {intrinsics.shape}")
    poses = np.stack([rigid_pose(pose, f"{path}: frame {index}") for index, pose in enumerate(global_from_cam)])
    first_from_cam = np.linalg.inv(poses[0]) @ poses
    chosen = evenly(count, MAX_VIEWS)
    views = tuple(NuscenesView(path, index, intrinsics[index]) for index in chosen)
    return BenchmarkSequence(name, views, first_from_cam[chosen], depth_range=(0.0, MAX_DEPTH_M))


@dataclass(frozen=True, eq=False)
class NuscenesView:
    file: Path
    index: int
    intrinsics: np.ndarray  # (3, 3)

    @property
    def source(self) -> str:
        return f"{self.file}: frame {self.index}"

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with open_h5(self.file) as file:
            try:
                encoded, depth = file["images"][str(self.index)][()], file["depths"][self.index]
            except (KeyError, ValueError, OSError) as error:
                raise DataError(f"{self.source}: unreadable: {error}") from error
        data = encoded if isinstance(encoded, bytes) else encoded.tobytes()
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise DataError(f"{self.source}: unreadable image")
        if not np.isfinite(depth).all():
            raise DataError(f"{self.source}: depth has NaN or infinite values")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), depth.astype(np.float32), self.intrinsics


def open_h5(path: Path) -> Any:
    """An open h5py.File.

    Raises:
        DataError: a missing or unreadable file.
        ConfigError: h5py is not installed.
    """
    h5py = optional_package("h5py", "reading nuScenes")
    if not path.is_file():
        raise DataError(f"{path}: missing scene: `prepare nuscenes` makes it")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: unreadable: {error}") from error
