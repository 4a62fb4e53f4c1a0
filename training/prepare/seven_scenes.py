"""7-Scenes' raw depth, which is the infrared camera's, projected into the colour camera."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import pinhole

from ..data.readers.folder import read_depth
from ..data.readers.seven_scenes import BENCHMARK_SIZE, CODING, COLOUR_FROM_DEPTH, FOCAL_PX, sequences
from ..data.registration import register_depth
from .jobs import HalfPixel, Job, copy_job, write_image
from .projection import sparse_depth


def names(source: Path) -> list[str]:
    return sequences(source)


def plan(source: Path, folder: Path, name: str, half_pixel: HalfPixel) -> list[Job]:
    """The files of one test sequence, all its frames.

    Raises:
        DataError: no frames.
    """
    raw, sequence = source / name, folder / name
    images = sorted(raw.glob("frame-*.color.png"))
    if not images:
        raise DataError(f"{raw}: no frame-NNNNNN.color.png")
    jobs = []
    for image in images:
        stem = image.name.removesuffix("color.png")
        jobs += [copy_job(raw / f"{stem}{end}", sequence / f"{stem}{end}") for end in ("color.png", "pose.txt")]
        make = functools.partial(_write_depth, raw / f"{stem}depth.png", half_pixel)
        jobs.append(Job(sequence / f"{stem}depth.proj.png", make))
    return jobs


def _write_depth(raw_depth: Path, half_pixel: HalfPixel, partial: Path) -> None:
    stored = read_depth(str(raw_depth))
    if stored.shape != BENCHMARK_SIZE:
        wanted = f"{BENCHMARK_SIZE[1]} x {BENCHMARK_SIZE[0]}"
        raise DataError(f"{raw_depth}: size {stored.shape[1]} x {stored.shape[0]}, 7-Scenes has {wanted}")
    depth = project_depth(CODING.decode(stored), half_pixel)
    write_image(partial, (depth * 1000).astype(np.uint16))


def project_depth(depth: np.ndarray, half_pixel: HalfPixel) -> np.ndarray:
    """Depth (480, 640) in metres of the infrared camera as the colour camera sees it, 0 where nothing falls.

    The published way rounds pixel coordinates, so that its pixel (0, 0) is centred at 0.
    """
    depth_camera, colour_camera = _camera("depth.png"), _camera("depth.proj.png")
    if half_pixel == "consistent":
        return register_depth(depth, depth_camera, COLOUR_FROM_DEPTH, colour_camera, BENCHMARK_SIZE)
    rows, columns = np.nonzero(depth > 0)
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=-1)
    points = pixels @ np.linalg.inv(depth_camera).T * depth[rows, columns, None]
    points_colour = points @ COLOUR_FROM_DEPTH[:3, :3].T + COLOUR_FROM_DEPTH[:3, 3]
    return sparse_depth(points_colour, colour_camera, BENCHMARK_SIZE, "nearest")


def _camera(depth_name: str) -> np.ndarray:
    height, width = BENCHMARK_SIZE
    return pinhole(FOCAL_PX[depth_name], FOCAL_PX[depth_name], width / 2, height / 2, "7-Scenes")
