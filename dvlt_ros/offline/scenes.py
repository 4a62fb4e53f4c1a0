"""Scenes for other programs: images are kept as they come, and every map becomes a folder at the end."""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..export.atomic import UNFINISHED, write_atomically
from ..export.scenes import FORMATS, SceneFormat, SceneImage, ScenePoints, Sight, export_scene
from ..export.scenes.writing import ENTRIES
from ..geometry import every
from ..imaging.files import read_pixels
from ..mapping.maps.map_part import MapSnapshot
from ..mapping.outputs.rendering import RenderedFrame
from ..mapping.submaps.submap import thinned_intrinsics
from .depth_files import DepthFiles, file_stem, read_depth
from .frame_log import LoggedFrame

JPEG_QUALITY = 95
SIGHT_EDGE = 512  # pixels of a sight's longest edge at most, about what the network sees
OF_A_MAP = re.compile(r"(unscaled_)?scene_(\d+|loaded)")


def add_export_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--export", nargs="+", choices=FORMATS, metavar="FORMAT", default=[],
        help=f"also leave scene_N/ for other programs: {', '.join(FORMATS)} (Gaussian splats, without training)",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Camera:
    size: tuple[int, int]  # (height, width)
    intrinsics: np.ndarray  # (3, 3), pixels of the image


class SceneFiles:
    """Images lie in a hidden folder until `finish` or `discard`; of equal stamps of a camera the last one's."""

    def __init__(self, folder: Path, formats: Sequence[SceneFormat]) -> None:
        self._folder, self._formats = folder, formats
        self._kept = folder / f".images{UNFINISHED}"
        self._cameras: dict[str, _Camera] = {}  # by name of the image
        self._maps: list[tuple[str, MapSnapshot, Sequence[LoggedFrame]]] = []

    def add(self, logged: LoggedFrame, frame: RenderedFrame) -> None:
        """Raises InputError: it cannot be written."""
        self._kept.mkdir(exist_ok=True)
        name = _name(logged)
        encoded = cv2.imencode(".jpg", frame.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        write_atomically(self._kept / name, encoded.tobytes())
        self._cameras[name] = _Camera(frame.size, frame.intrinsics)

    def add_map(self, name: str, snapshot: MapSnapshot, frames: Sequence[LoggedFrame]) -> None:
        """``name`` of the scene's folder; the frames may move until `finish`."""
        self._maps.append((name, snapshot, frames))

    def finish(self, depths: DepthFiles | None) -> None:
        """All scenes, from depth images that are where they belong.

        Raises:
            InputError: one cannot be written, or there are no depth images.
        """
        try:
            if depths is None:
                raise InputError("scenes need the depth images, which could not be written")
            for name, snapshot, frames in self._maps:
                by_name = {_name(frame): frame for frame in frames}
                images = [self._image(frame, depths) for frame in by_name.values()]
                points = ScenePoints(snapshot.cloud.points, snapshot.cloud.colors)
                export_scene(self._folder / name, images, points, snapshot.voxel_size, self._formats)
        finally:
            self.discard()

    def discard(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)

    def _image(self, frame: LoggedFrame, depths: DepthFiles) -> SceneImage:
        name = _name(frame)
        camera, kept = self._cameras[name], self._kept / name
        sight = partial(_sight, kept, depths.path_of(frame), camera.intrinsics)
        return SceneImage(
            name, camera.size, camera.intrinsics, frame.map_from_cam, partial(_link, kept), sight
        )  # fmt: skip


def clear_scenes(folder: Path) -> None:
    """Those of an earlier run; not a folder into which somebody has put something else."""
    named = (path for path in folder.glob("*scene_*") if OF_A_MAP.fullmatch(path.name))
    for path in named:
        if path.is_dir() and not path.is_symlink() and {entry.name for entry in path.iterdir()} <= ENTRIES:
            shutil.rmtree(path)


def _name(frame: LoggedFrame) -> str:
    return f"{file_stem(frame)}.jpg"


def _link(kept: Path, path: Path) -> None:
    """Without a second copy, where the file system can."""
    try:
        os.link(kept, path)
    except OSError:
        shutil.copyfile(kept, path)


def _sight(image: Path, depth: Path, intrinsics: np.ndarray) -> Sight:
    """Of an image and a depth image of one size.

    Raises:
        InputError: one of them is not there any more.
    """
    pixels = read_pixels(image, cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputError(f"{image}: cannot be read")
    stride = math.ceil(max(pixels.shape[:2]) / SIGHT_EDGE)
    thin = every(stride)
    return Sight(read_depth(depth)[thin], pixels[thin][..., ::-1], thinned_intrinsics(intrinsics, stride))
