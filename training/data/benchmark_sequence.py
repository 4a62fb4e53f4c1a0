"""A benchmark's sequence: the views that a protocol selects, each read when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from dvlt_ros.errors import DataError

from ..batches.augment import Frame
from .readers.folder import DepthCoding, FrameFiles, read_depth, read_image
from .sequence import check_depth, median_step

EVERYTHING = (0.0, math.inf)


class View(Protocol):
    """One frame, not yet read."""

    @property
    def source(self) -> str:
        """The file that holds its depth, for error messages."""
        ...

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB, z-depth (H, W) float32 with 0 where invalid, intrinsics (3, 3) in pixels.

        Raises:
            DataError: a missing or unreadable file.
        """
        ...


@dataclass(frozen=True, eq=False)
class BenchmarkSequence:
    """Posed RGB-D views in a protocol's order and in the data set's own world and unit; an `RgbdSequence`.

    Intrinsics have the numbers of the files. A view without any valid depth is still a view; one in an
    implausible unit is refused.
    """

    name: str
    views: tuple[View, ...]
    world_from_cam: np.ndarray  # (N, 4, 4)
    metres_per_unit: float = 1.0
    depth_range: tuple[float, float] = EVERYTHING  # in the data set's unit; other depths are invalid
    is_synthetic: bool = False
    left_out: int = 0  # views that the data set lists and whose files are not there, where the protocol skips them
    step_m: float = field(init=False)

    def __post_init__(self) -> None:
        if not self.views:
            raise DataError(f"{self.name}: no views")
        if len(self.views) != len(self.world_from_cam):
            raise DataError(f"{self.name}: {len(self.views)} views but {len(self.world_from_cam)} poses")
        object.__setattr__(self, "step_m", median_step(self.world_from_cam) * self.metres_per_unit)

    def __len__(self) -> int:
        return len(self.views)

    def frame(self, index: int) -> Frame:
        """Reads and checks one view.

        Raises:
            DataError: a missing or unreadable file, unequal sizes, or depth in an implausible unit.
        """
        view = self.views[index]
        image, depth, intrinsics = view.read()
        if image.shape[:2] != depth.shape:
            sizes = f"{depth.shape[1]} x {depth.shape[0]}, its image {image.shape[1]} x {image.shape[0]}"
            raise DataError(f"{view.source}: the depth is {sizes}")
        if (depth > 0).any():
            check_depth(depth * np.float32(self.metres_per_unit), self.step_m, view.source)
        nearest, furthest = self.depth_range
        believed = np.where((depth >= nearest) & (depth <= furthest), depth, np.float32(0))
        return Frame(image, believed, self.world_from_cam[index], intrinsics)


@dataclass(frozen=True)
class ImageView:
    """An image file and a 16-bit depth image of the same pinhole camera."""

    files: FrameFiles
    coding: DepthCoding

    @property
    def source(self) -> str:
        return self.files.depth

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = read_image(self.files.image)
        if image.shape[:2] != self.files.lens.size:
            height, width = self.files.lens.size
            got = f"{image.shape[1]} x {image.shape[0]}"
            raise DataError(f"{self.files.image}: size {got}, the camera has {width} x {height}")
        return image, self.coding.decode(read_depth(self.files.depth)), self.files.lens.intrinsics


def evenly(count: int, limit: int) -> list[int]:
    """At most ``limit`` of ``count`` indices, floor(i * count / limit), the first one always."""
    chosen = min(count, limit)
    return [i * count // chosen for i in range(chosen)]


def require_files(paths: Iterable[Path], what: str) -> None:
    """Refuses files that are not there before a network runs on the others.

    Raises:
        DataError: names the first one and how many there are.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}: missing {what}{others}")


def require_one_of(name: str, names: Sequence[str], source: str) -> None:
    """Refuses a sequence that the protocol does not have.

    Raises:
        DataError: names those that it has.
    """
    if name not in names:
        raise DataError(f"{source}: no sequence {name!r} in the protocol, which has {', '.join(names)}")
