"""DTU as Spann3R publishes it: images, MVSNet cameras, rendered depth and masks, in millimetres throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.imaging.files import read_pixels
from dvlt_ros.lens import pinhole

from ..benchmark_sequence import BenchmarkSequence, require_files
from ..sequence import rigid_pose
from .folder import read_image

FOLDERS = ("images", "cams", "depths", "binary_masks")
LOOKED_FOR = "scanN/{images/NNNNNNNN.jpg, cams/NNNNNNNN_cam.txt, depths/NNNNNNNN.npy, binary_masks/NNNNNNNN.png}"
METRES_PER_UNIT = 1e-3
EROSION_PX = 10  # of the masks, whose rims are not on the surface

T = TypeVar("T")


def sequences(folder: Path) -> list[str]:
    """Every folder with all four subfolders.

    Raises:
        DataError: there is none.
    """
    scans = sorted(path.name for path in folder.iterdir() if all((path / name).is_dir() for name in FOLDERS))
    if not scans:
        raise DataError(f"{folder}: no scans; looked for {LOOKED_FOR}")
    return scans


def open_sequence(folder: Path, name: str) -> BenchmarkSequence:
    """All views, the middle one first. The first scan's views are those of every scan.

    Raises:
        DataError: a missing file, or a camera that cannot be read.
    """
    first, scan = folder / sequences(folder)[0], folder / name
    ids = sorted(path.stem for path in (first / "images").glob("*.jpg"))
    if not ids:
        raise DataError(f"{first / 'images'}: no images")
    views, poses = [], []
    for view_id in middle_first(ids):
        pose, intrinsics = read_camera(scan / "cams" / f"{view_id}_cam.txt")
        views.append(DtuView(scan, view_id, intrinsics))
        poses.append(pose)
    require_files((path for view in views for path in (view.image, view.depth, view.mask)), "file of a view")
    return BenchmarkSequence(name, tuple(views), np.stack(poses), METRES_PER_UNIT)


@dataclass(frozen=True, eq=False)
class DtuView:
    scan: Path
    view_id: str
    intrinsics: np.ndarray  # (3, 3)

    @property
    def image(self) -> Path:
        return self.scan / "images" / f"{self.view_id}.jpg"

    @property
    def depth(self) -> Path:
        return self.scan / "depths" / f"{self.view_id}.npy"

    @property
    def mask(self) -> Path:
        return self.scan / "binary_masks" / f"{self.view_id}.png"

    @property
    def source(self) -> str:
        return str(self.depth)

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        depth = _read_array(self.depth)
        inside = _read_mask(self.mask, depth.shape)
        known = np.isfinite(depth) & (depth > 0) & inside
        return read_image(str(self.image)), np.where(known, depth, np.float32(0)), self.intrinsics


def middle_first(items: Sequence[T]) -> list[T]:
    """The middle item, which sees most of a scan, then the others in their order."""
    middle = len(items) // 2
    return [items[middle], *items[:middle], *items[middle + 1 :]]


def read_camera(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """world_from_cam (4, 4) and intrinsics (3, 3) of a camera file as MVSNet writes it.

    Raises:
        DataError: a missing file, or one without two matrices of numbers.
    """
    try:
        words = path.read_text(encoding="utf-8").split()
        cam_from_world = np.array(words[1:17], dtype=np.float64).reshape(4, 4)
        intrinsics = np.array(words[18:27], dtype=np.float64).reshape(3, 3)
        world_from_cam = np.linalg.inv(cam_from_world)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing camera") from error
    except (OSError, ValueError, np.linalg.LinAlgError) as error:
        raise DataError(f"{path}: unreadable camera: {error}") from error
    return rigid_pose(world_from_cam, str(path)), pinhole(
        intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2], str(path)
    )


def _read_array(path: Path) -> np.ndarray:
    """(H, W) float32."""
    try:
        depth = np.load(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing depth") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: unreadable depth: {error}") from error
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind != "f":
        raise DataError(f"{path}: depth must be a floating-point array (H, W)")
    return depth.astype(np.float32)


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at the size of the depth, its rim taken off."""
    if not path.is_file():
        raise DataError(f"{path}: missing mask")
    mask = read_pixels(path, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DataError(f"{path}: unreadable mask")
    resized = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    eroded = cv2.erode(resized, np.ones((EROSION_PX, EROSION_PX), np.uint8))
    return eroded > 127  # more than half
