"""TUM RGB-D: rgb.txt, depth.txt and groundtruth.txt, joined by time.

https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats. Its cameras have pixel centres at integers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens
from dvlt_ros.sources.poses import PoseTrack
from dvlt_ros.sources.times import read_times
from dvlt_ros.sources.tum import trajectory_rows, tum_rows

from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence, first_image_size

LOOKED_FOR = "rgb.txt, depth.txt and groundtruth.txt"
CAMERAS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # fx, fy, cx, cy of the files; distortion
    "freiburg1": (
        (517.306408, 516.469215, 318.643040, 255.313989),
        (0.262383, -0.953104, -0.005358, 0.002628, 1.163314),
    ),
    "freiburg2": (
        (520.908620, 521.007327, 325.141442, 249.701764),
        (0.231222, -0.784899, -0.003257, -0.000105, 0.917205),
    ),
    "freiburg3": ((535.4, 539.2, 320.1, 247.6), ()),
}


def is_root(path: Path) -> bool:
    return all((path / name).is_file() for name in ("rgb.txt", "depth.txt", "groundtruth.txt"))


def read(
    path: Path,
    camera: str | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    depth_factor: float = 5000.0,
    max_difference_s: float = 0.02,
    max_gap_s: float = 0.1,
) -> FolderSequence:
    """One TUM RGB-D folder; poses interpolated at the times of the colour images.

    ``camera`` is freiburg1, freiburg2 or freiburg3 (from the folder's name if not given); ``intrinsics`` (fx,
    fy, cx, cy with pixel centres at integers, no distortion) replaces it.

    Raises:
        DataError: unknown intrinsics, or no colour image with a depth image and a pose near its time.
    """
    track = read_trajectory(path / "groundtruth.txt")
    colours, depths = _read_list(path / "rgb.txt"), _read_list(path / "depth.txt")
    size = first_image_size((str(path / name) for _, name in colours), str(path))
    lens = _lens(path, camera, intrinsics, size)
    depth_stamps = np.array([stamp for stamp, _ in depths], dtype=np.int64)
    max_difference_ns, max_gap_ns = int(max_difference_s * 1e9), int(max_gap_s * 1e9)

    def load(colour: tuple[int, str]) -> tuple[FrameFiles, np.ndarray]:
        stamp, name = colour
        nearest = int(np.abs(depth_stamps - stamp).argmin())
        if abs(int(depth_stamps[nearest]) - stamp) > max_difference_ns:
            raise DataError(f"{path / name}: no depth image within {max_difference_s} s")
        try:
            pose = track.at(stamp, max_gap_ns)
        except DataError as error:
            raise DataError(f"{path / name}: {error}") from error
        return FrameFiles(str(path / name), str(path / depths[nearest][1]), lens), pose

    return build_sequence(path.resolve().name, colours, load, DepthCoding(1 / depth_factor))


def read_trajectory(path: Path) -> PoseTrack:
    """A trajectory file as a track.

    Raises:
        DataError: an unreadable file or row, or no usable pose.
    """
    return PoseTrack.from_samples(*trajectory_rows(path), str(path))


def _lens(path: Path, camera: str | None, intrinsics: tuple[float, ...] | None, size: tuple[int, int]) -> Lens:
    distortion: tuple[float, ...] = ()
    if intrinsics is None:
        camera = camera or next((name for name in CAMERAS if name in str(path.resolve())), None)
        if camera not in CAMERAS:
            raise DataError(
                f"{path}: the folder's name does not tell the camera (got {camera!r}): "
                f"pass camera= one of {tuple(CAMERAS)}, or intrinsics=(fx, fy, cx, cy)"
            )
        intrinsics, distortion = CAMERAS[camera]
    fx, fy, cx, cy = intrinsics
    return Lens(fx, fy, cx + 0.5, cy + 0.5, size, "plumb_bob", distortion, str(path))


def _read_list(path: Path) -> list[tuple[int, str]]:
    """(stamp in ns, relative path) of every row of rgb.txt or depth.txt.

    Raises:
        DataError: an unreadable or empty file.
    """
    rows = tum_rows(path)
    if not rows or any(len(row) != 2 for row in rows):
        raise DataError(f"{path}: rows are a time and a file name, and there is at least one")
    stamps_ns = read_times([time for time, _ in rows], str(path)).stamps_ns.tolist()
    return [(stamp, name.replace("\\", "/")) for stamp, (_, name) in zip(stamps_ns, rows, strict=True)]
