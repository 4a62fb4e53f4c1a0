"""`~/save_map` and `~/load_map`: maps in the map directory.

PLY, PCD and the path in TUM format are for others; what the node itself needs to find its way in a map again is in one
file beside them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...export import write_pcd, write_ply, write_tum
from ...export.files import write_atomically
from ...mapping.loops.detector import LoopDetector
from ...mapping.maps.builder import MapBuilder
from ...mapping.maps.map_part import MapSnapshot
from ...mapping.maps.saved_map import SavedMap, read_saved_map
from ...mapping.submaps.submap import StoredSubmap
from ..config import NodeConfig

PLACES = ".places.safetensors"


def save_maps(
    builder: MapBuilder, detector: LoopDetector | None, config: NodeConfig, checkpoint: str,
    saved: MutableMapping[bytes, Path],
) -> Path:  # fmt: skip
    """The map that grows, and those that have ended and no loop has joined to it; returns the PLY of the newest.

    May run beside everything that changes them: what is saved is all of one moment.

    Args:
        saved: PLYs by content, kept from call to call: maps that have ended and are the same are not written again.

    Raises:
        InputError: nothing to save, or a file that cannot be written; each file that is there is whole.
    """
    stored_submaps = {} if detector is None else detector.stored_submaps()
    *ended, growing = builder.snapshots()
    maps = [growing, *(snapshot for snapshot in reversed(ended) if not snapshot.is_as_loaded)]
    filled = [snapshot for snapshot in maps if len(snapshot.cloud.points)]
    if not filled:
        raise InputError("the map is empty")
    newest, *others = filled
    path = saved[content_of(newest)] = save_map(newest, stored_submaps, config, checkpoint)
    try:
        for snapshot in others:
            content = content_of(snapshot)
            if content not in saved or not saved[content].exists():
                saved[content] = save_map(snapshot, stored_submaps, config, checkpoint)
    except InputError as error:
        raise InputError(f"{error}; of the newest map all files are there: {path}") from error
    finally:
        with suppress(FileNotFoundError):  # it has no places
            os.utime(path.with_suffix(PLACES))  # the newest is what is loaded
    return path


def content_of(snapshot: MapSnapshot) -> bytes:
    """The same for the same cloud and path."""
    digest = hashlib.blake2b()
    for array in (*snapshot.cloud, snapshot.stamps_ns, snapshot.map_from_cam):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def save_map(
    snapshot: MapSnapshot, stored_submaps: Mapping[int, StoredSubmap], config: NodeConfig, checkpoint: str
) -> Path:
    """Writes files of one name, which is the time; returns the PLY.

    Args:
        submaps: what is remembered of submaps, this map's among them; without those it cannot be loaded again.
        checkpoint: the digest of what has seen them.

    Raises:
        InputError: a directory or a file that cannot be written.
    """
    folder = Path(config.maps.directory).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"maps.directory {folder}: {error.strerror}") from error
    base = folder / f"map_{time.strftime('%Y%m%d_%H%M%S')}_{snapshot.map_id}"
    write_ply(base.with_suffix(".ply"), *snapshot.cloud)
    write_pcd(base.with_suffix(".pcd"), *snapshot.cloud)
    write_tum(base.with_suffix(".txt"), snapshot.stamps_ns, snapshot.map_from_cam)
    if stored_submaps.keys() & snapshot.map_from_visual.keys():
        saved = SavedMap.of(snapshot, stored_submaps, checkpoint, config.has_metric_source)
        write_atomically(base.with_suffix(PLACES), saved.encoded())
    return base.with_suffix(".ply")


def open_map(config: NodeConfig, checkpoint: str) -> tuple[Path, SavedMap]:
    """The map that ``maps.file`` names, or the newest one.

    Raises:
        InputError: there is none, it lies elsewhere, cannot be read, or belongs to another checkpoint or unit.
    """
    folder = Path(config.maps.directory).expanduser().resolve()
    path = _named(folder, config.maps.file) if config.maps.file else _newest(folder)
    saved = read_saved_map(path)
    try:
        saved.check(checkpoint, config.has_metric_source)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return path, saved


def _named(folder: Path, name: str) -> Path:
    path = (folder / f"{name.removesuffix(PLACES).removesuffix('.ply')}{PLACES}").resolve()
    if not path.is_relative_to(folder):
        raise InputError(f"maps.file {name!r} is not in maps.directory {folder}")
    return path


def _newest(folder: Path) -> Path:
    try:
        return max(folder.glob(f"*{PLACES}"), key=lambda path: path.stat().st_mtime_ns)
    except ValueError:
        raise InputError(f"no map to load in maps.directory {folder} (*{PLACES})") from None
