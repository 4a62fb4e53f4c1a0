"""7-Scenes (Shotton et al., CVPR 2013): frame-NNNNNN.{color.png, depth.png, pose.txt} per sequence folder.

The raw depth image comes from another camera than the colour image and is not registered to it; where
depth.proj.png exists (projected into the colour camera), it is preferred, with that camera's focal length.
The principal point is given as the middle of the image, so it is taken as that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens

from ..benchmark_sequence import BenchmarkSequence, ImageView, require_files, require_one_of
from ..sequence import rigid_pose
from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence, first_image_size

LOOKED_FOR = "frame-NNNNNN.color.png, .depth.png (or .depth.proj.png) and .pose.txt"
CODING = DepthCoding(metres_per_unit=1e-3, invalid=(65535,))
FOCAL_PX = {"depth.png": 585.0, "depth.proj.png": 525.0}  # at 640 x 480
SPLITS = {"train": "TrainSplit.txt", "test": "TestSplit.txt"}

TEST_SEQUENCES = {
    "chess": (3, 5),
    "fire": (3, 4),
    "heads": (1,),
    "office": (2, 6, 7, 9),
    "pumpkin": (1, 7),
    "redkitchen": (3, 4, 6, 12, 14),
    "stairs": (1, 4),
}
BENCHMARK_FILES = "<scene>/seq-NN/frame-NNNNNN.{color.png, depth.proj.png, pose.txt}"
BENCHMARK_SIZE = (480, 640)
BENCHMARK_RANGE_M = (0.1, 10.0)
BENCHMARK_STRIDE = 11


def is_root(path: Path) -> bool:
    return next(path.glob("frame-*.color.png"), None) is not None


def read(
    path: Path, depth: Literal["auto", "depth.png", "depth.proj.png"] = "auto", focal_px: float | None = None
) -> FolderSequence:
    """One sequence folder, named scene/sequence.

    ``focal_px`` is at the images' own size; by default 525 for projected depth and 585 for raw depth.

    Raises:
        DataError: no frame with a usable pose.
    """
    images = sorted(path.glob("frame-*.color.png"))
    if depth == "auto":
        depth = "depth.proj.png" if next(path.glob("frame-*.depth.proj.png"), None) else "depth.png"
    if depth not in FOCAL_PX:
        raise DataError(f"{path}: depth must be one of {('auto', *FOCAL_PX)}, got {depth!r}")
    height, width = first_image_size((str(image) for image in images), str(path))
    focal = FOCAL_PX[depth] * width / 640 if focal_px is None else focal_px
    lens = Lens(focal, focal, width / 2, height / 2, (height, width), source=str(path))

    def load(image: Path) -> tuple[FrameFiles, np.ndarray]:
        stem = image.name.removesuffix("color.png")
        files = FrameFiles(str(image), str(image.with_name(stem + depth)), lens)
        return files, _read_pose(image.with_name(stem + "pose.txt"))

    return build_sequence(f"{path.resolve().parent.name}/{path.resolve().name}", images, load, CODING)


def in_split(path: Path, split: Literal["train", "test"]) -> bool:
    """Whether the scene's own list counts this sequence folder (seq-NN) to the split.

    Raises:
        DataError: an unknown split, or no such list.
    """
    if split not in SPLITS:
        raise DataError(f"{path}: split must be one of {tuple(SPLITS)}, got {split!r}")
    listing = path.parent / SPLITS[split]
    try:
        numbers = {int(number) for number in re.findall(r"sequence\s*(\d+)", listing.read_text(encoding="utf-8"))}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: unreadable list of sequences: {error}") from error
    number = re.search(r"(\d+)$", path.name)
    return number is not None and int(number.group(1)) in numbers


def _read_pose(path: Path) -> np.ndarray:
    try:
        return np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable pose: {error}") from error


def sequences(folder: Path) -> list[str]:
    """The 18 test sequences of the benchmark, as scene/sequence."""
    return [f"{scene}/seq-{number:02d}" for scene, numbers in TEST_SEQUENCES.items() for number in numbers]


def open_sequence(folder: Path, name: str) -> BenchmarkSequence:
    """Every 11th frame with projected depth between 0.1 and 10 m; the camera is the same for all.

    Raises:
        DataError: a missing file, also a gap in the numbers: every 11th would be another frame.
    """
    require_one_of(name, sequences(folder), str(folder))
    path = folder / name
    count = _frame_count(path)
    require_files((path / f"frame-{number:06d}.color.png" for number in range(count)), "image")
    focal, (height, width) = FOCAL_PX["depth.proj.png"], BENCHMARK_SIZE
    lens = Lens(focal, focal, width / 2, height / 2, BENCHMARK_SIZE, source=str(path))
    stems = [str(path / f"frame-{number:06d}.") for number in range(0, count, BENCHMARK_STRIDE)]
    require_files((Path(f"{stem}depth.proj.png") for stem in stems), "depth: `prepare sevenscenes` makes it")
    views = tuple(ImageView(FrameFiles(f"{stem}color.png", f"{stem}depth.proj.png", lens), CODING) for stem in stems)
    poses = np.stack([rigid_pose(_read_pose(Path(f"{stem}pose.txt")), f"{stem}pose.txt") for stem in stems])
    return BenchmarkSequence(name, views, poses, depth_range=BENCHMARK_RANGE_M)


def _frame_count(path: Path) -> int:
    """One more than the highest number that any file of a frame has: an image that is not there counts, too.

    Raises:
        DataError: no frames.
    """
    numbers = [int(match[1]) for file in path.glob("frame-*") if (match := re.match(r"frame-(\d{6})\.", file.name))]
    if not numbers:
        raise DataError(f"{path}: no frame-NNNNNN.color.png")
    return max(numbers) + 1
