"""7-Scenes (Shotton et al., CVPR 2013): frame-NNNNNN.{color.png, depth.png, pose.txt} per sequence folder.

The raw depth image comes from another camera than the colour image, and so do the poses. Where depth.proj.png exists
(projected into the colour camera), it is preferred, with the poses as they are, as the benchmark has it; else depth and
poses are registered to the colour camera by the calibration that all use who project this data set's depth.
The principal point is given as the middle of the image, so it is taken as that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens, pinhole

from ..benchmark_sequence import BenchmarkSequence, ImageView, require_files, require_one_of
from ..registration import DepthCamera
from ..sequence import rigid_pose
from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence, first_image_size

LOOKED_FOR = "frame-NNNNNN.color.png, .depth.png (or .depth.proj.png) and .pose.txt"
CODING = DepthCoding(metres_per_unit=1e-3, invalid=(65535,))
FOCAL_PX = {"depth.png": 585.0, "depth.proj.png": 525.0}  # at 640 x 480: of the infrared and of the colour camera
# https://projet.liris.cnrs.fr/voir/activities-dataset/kinect-calibration.html. Metres.
COLOUR_FROM_DEPTH = np.array(
    [
        [9.9996518012567637e-01, 2.6765126468950343e-03, -7.9041012313000904e-03, -2.5558943178152542e-02],
        [-2.7409311281316700e-03, 9.9996302803027592e-01, -8.1504520778013286e-03, 1.0109636268061706e-04],
        [7.8819942130445332e-03, 8.1718328771890631e-03, 9.9993554558014031e-01, 2.0318321729487039e-03],
        [0, 0, 0, 1],
    ]
)
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

    ``focal_px`` is the colour camera's at the images' own size; by default 525 at a width of 640.

    Raises:
        DataError: no frame with a usable pose.
    """
    images = sorted(path.glob("frame-*.color.png"))
    if depth == "auto":
        depth = "depth.proj.png" if next(path.glob("frame-*.depth.proj.png"), None) else "depth.png"
    if depth not in FOCAL_PX:
        raise DataError(f"{path}: depth must be one of {('auto', *FOCAL_PX)}, got {depth!r}")
    height, width = first_image_size((str(image) for image in images), str(path))
    colour_px, depth_px = (FOCAL_PX[name] * width / 640 for name in ("depth.proj.png", "depth.png"))
    focal = colour_px if focal_px is None else focal_px
    lens = Lens(focal, focal, width / 2, height / 2, (height, width), source=str(path))
    is_raw = depth == "depth.png"
    infrared = pinhole(depth_px, depth_px, width / 2, height / 2, str(path))
    depth_camera = DepthCamera(infrared, COLOUR_FROM_DEPTH) if is_raw else None
    depth_from_colour = np.linalg.inv(COLOUR_FROM_DEPTH) if is_raw else np.eye(4)

    def load(image: Path) -> tuple[FrameFiles, np.ndarray]:
        stem = image.name.removesuffix("color.png")
        files = FrameFiles(str(image), str(image.with_name(stem + depth)), lens, depth_camera)
        pose = rigid_pose(_read_pose(image.with_name(stem + "pose.txt")), files.image)
        return files, pose @ depth_from_colour

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
