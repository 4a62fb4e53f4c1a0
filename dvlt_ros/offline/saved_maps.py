"""Maps that the node reads, and that a recording finds itself in."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..mapping.config import MapperConfig
from ..mapping.data.frames import Frame
from ..mapping.loops.hint import PoseHint
from ..mapping.map_files import PLACES
from ..mapping.mapper import Mapper
from ..mapping.submaps.placement import MAP_FROM_OPTICAL


def add_hint_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--initial-pose", type=float, nargs=3, metavar=("X", "Y", "YAW_DEG"),
        help="where the first image was taken in the map of --load-map, about, and where the camera looks",
    )  # fmt: skip


def check_loaded(config: MapperConfig, args: argparse.Namespace) -> None:
    """Raises InputError: what needs a saved map, and none is given."""
    if args.load_map is None and config.map.mode == "localization":
        raise InputError("--map-mode localization needs the map: --load-map PATH")
    if args.load_map is None and args.initial_pose:
        raise InputError("--initial-pose is a pose in a saved map: --load-map PATH")


def beginning(mapper: Mapper, args: argparse.Namespace) -> Callable[[Frame], None]:
    """Loads the map of --load-map; gives what is to be done with the first frame. Raises InputError: see `load_map`."""
    if args.load_map is not None:
        tqdm.write(load_map(mapper, args.load_map))

    def begin(frame: Frame) -> None:
        if args.initial_pose:
            mapper.hint(PoseHint(looking(*args.initial_pose), frame.stamp_ns, frame.frame_id))

    return begin


def looking(x: float, y: float, yaw_deg: float) -> np.ndarray:
    """map_from_cam (4, 4) of a level camera."""
    yaw, map_from_cam = math.radians(yaw_deg), np.eye(4)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0.0], [math.sin(yaw), math.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    map_from_cam[:3, :3], map_from_cam[:2, 3] = turn @ MAP_FROM_OPTICAL, (x, y)
    return map_from_cam


def check_places(mapper: Mapper, option: str) -> None:
    """Raises InputError: no places are remembered, which ``option`` needs."""
    if mapper.loops.detector is None:
        raise InputError(f"{option}: no loops are closed: {mapper.loops.reason}")


def load_map(mapper: Mapper, path: Path) -> str:
    """A saved map, or the newest one of a folder; returns what to say.

    Raises:
        InputError: no such map, or one that does not fit the network or the unit.
    """
    path = path.expanduser()
    try:
        folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
        found, saved = mapper.open(folder, name)
    except InputError as error:
        raise InputError(f"--load-map {path}: {error}") from error
    mapper.load(saved)
    return f"{found}: {len(saved.stored_submaps)} places, {len(saved.cloud.points)} points"


def save_map(mapper: Mapper, folder: Path) -> str:
    """As ~/save_map does; returns what to say. Raises InputError: nothing to save, or it cannot be written."""
    try:
        path = mapper.save(folder)
    except InputError as error:
        raise InputError(f"--save-map {folder}: {error}") from error
    places = path.with_suffix(PLACES)
    return f"saved: {places if places.exists() else f'{path}, without places: it cannot be loaded again'}"
