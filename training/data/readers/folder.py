"""A sequence of image files: what all layouts on disk become, and the only place that decodes them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from dvlt_ros.errors import DataError
from dvlt_ros.imaging.files import read_pixels
from dvlt_ros.lens import Lens, rectification

from ...batches.augment import Frame
from ..registration import DepthCamera
from ..sequence import check_depth, median_step, rigid_pose

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class DepthCoding:
    """How a 16-bit depth image holds metres."""

    metres_per_unit: float = 1e-3
    invalid: tuple[int, ...] = (0,)  # besides 0
    kind: Literal["integer", "float16"] = "integer"  # float16: the bits of half-precision metres

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Stored values (H, W) uint16 as float32 metres, 0 where invalid."""
        if self.kind == "float16":
            metres = stored.view(np.float16).astype(np.float32)
            return np.where(np.isfinite(metres) & (metres > 0), metres, 0).astype(np.float32)
        metres = stored.astype(np.float32) * np.float32(self.metres_per_unit)
        metres[np.isin(stored, self.invalid)] = 0
        return metres


@dataclass(frozen=True)
class FrameFiles:
    """One frame, not yet read. Without a camera of its own the depth image has that of the colour image."""

    image: str
    depth: str
    lens: Lens
    depth_camera: DepthCamera | None = None


@dataclass(frozen=True, eq=False)
class FolderSequence:
    """Frames on disk; an `RgbdSequence`."""

    name: str
    files: tuple[FrameFiles, ...]
    world_from_cam: np.ndarray  # (N, 4, 4)
    coding: DepthCoding
    is_synthetic: bool = False
    step_m: float = field(init=False)

    def __post_init__(self) -> None:
        if len(self.files) != len(self.world_from_cam):
            raise DataError(f"{self.name}: {len(self.files)} frames but {len(self.world_from_cam)} poses")
        object.__setattr__(self, "step_m", median_step(self.world_from_cam))

    def __len__(self) -> int:
        return len(self.files)

    def frame(self, index: int) -> Frame:
        """Reads, checks, rectifies and registers one frame.

        Raises:
            DataError: a missing or unreadable file, other sizes than the camera's, or implausible depth.
        """
        files = self.files[index]
        image = read_image(files.image)
        depth = self.coding.decode(read_depth(files.depth))
        of_the_lens = {files.image: image} if files.depth_camera else {files.image: image, files.depth: depth}
        for path, array in of_the_lens.items():
            if array.shape[:2] != files.lens.size:
                wanted = f"{files.lens.size[1]} x {files.lens.size[0]}"
                raise DataError(f"{path}: size {array.shape[1]} x {array.shape[0]}, the camera has {wanted}")
        check_depth(depth, self.step_m, files.depth)
        intrinsics = files.lens.intrinsics
        if files.lens.is_distorted:
            lens = rectification(files.lens)
            image, intrinsics = lens.image(image), lens.intrinsics
            depth = lens.depth(depth) if files.depth_camera is None else depth
        if files.depth_camera is not None:
            depth = files.depth_camera.registered(depth, intrinsics, image.shape[:2])
        return Frame(image, depth, self.world_from_cam[index], intrinsics)

    def part(self, first: int = 0, last: int | None = None) -> FolderSequence:
        """Frames [first, last) as a sequence of their own."""
        chosen = slice(first, last)
        return replace(self, files=self.files[chosen], world_from_cam=self.world_from_cam[chosen])


def build_sequence(
    name: str, entries: Sequence[T], load: Callable[[T], tuple[FrameFiles, np.ndarray]], coding: DepthCoding
) -> FolderSequence:
    """A sequence of those entries for which ``load`` gives files and a rigid pose world_from_cam (4, 4).

    Those for which it raises DataError are left out, with one warning for all.

    Raises:
        DataError: no frame is left; it names the first cause.
    """
    files, poses, refused = [], [], []
    for entry in entries:
        try:
            frame, pose = load(entry)
            poses.append(rigid_pose(pose, frame.image))
            files.append(frame)
        except DataError as error:
            refused.append(error)
    if not files:
        cause = f"; for example {refused[0]}" if refused else ""
        raise DataError(f"{name}: none of {len(entries)} frames is usable{cause}")
    if refused:
        logger.warning("%s: %d of %d frames left out, for example %s", name, len(refused), len(entries), refused[0])
    return FolderSequence(name, tuple(files), np.stack(poses), coding)


def read_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8, RGB.

    Raises:
        DataError: a missing or unreadable file.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: missing image")
    image = read_pixels(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"{path}: unreadable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_depth(path: str) -> np.ndarray:
    """(H, W) uint16, as stored.

    Raises:
        DataError: a missing or unreadable file, or one that is not a 16-bit image of one channel.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: missing depth")
    depth = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if depth is None:
        raise DataError(f"{path}: unreadable depth image")
    if depth.ndim != 2 or depth.dtype != np.uint16:
        raise DataError(f"{path}: depth must be a 16-bit image of one channel, got {depth.dtype} {depth.shape}")
    return depth


def image_size(path: str) -> tuple[int, int]:
    """(height, width) of an image file, from its header where the decoder allows.

    Raises:
        DataError: a missing or unreadable file.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing image") from error
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: unreadable image") from error


def first_image_size(paths: Iterable[str], name: str) -> tuple[int, int]:
    """(height, width) of the first readable image.

    Raises:
        DataError: none can be read.
    """
    for path in paths:
        try:
            return image_size(path)
        except DataError:
            continue
    raise DataError(f"{name}: no readable image")
