"""Maps as files: PLY, PCD and the path in TUM format for other tools, and one file for relocalization beside them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..export import write_pcd, write_ply, write_tum
from ..export.files import write_atomically
from .maps.map_part import MapSnapshot
from .maps.saved_map import SavedMap, read_saved_map
from .maps.saved_scene import SceneExport, write_saved_scene
from .submaps.submap import StoredSubmap
from .surfaces.files import write_surfaces
from .surfaces.grid import Band
from .surfaces.surface_map import SurfaceMap

PLACES = ".places.safetensors"
SCENE = ".scene"  # a folder


class SurfaceFiles(NamedTuple):
    """What mesh and grid are made of."""

    of: SurfaceMap
    band: Band


def save_maps(
    snapshots: Sequence[MapSnapshot],
    stored: Mapping[int, StoredSubmap],
    folder: Path,
    checkpoint: str,
    is_metric: bool,
    files: MutableMapping[bytes, Path],
    export: SceneExport | None = None,
    surfaces: SurfaceFiles | None = None,
) -> Path:
    """Saves the current map, and ended ones that no loop has joined to it; returns the PLY of the newest.

    Args:
        snapshots: of the same time, the current map last.
        stored: submaps with their place descriptors; a map without any cannot be loaded again.
        checkpoint: digest of the network that computed the place descriptors.
        files: PLYs by content, kept from call to call: ended maps that have not changed are not written again.
        export: also leave a scene for other programs beside each map; None: no.
        surfaces: mesh and grid, which are left beside each map that has any; None: no.

    Raises:
        InputError: nothing to save, or a file cannot be written; no file is left incomplete.
    """
    *ended, growing = snapshots
    maps = [growing, *(snapshot for snapshot in reversed(ended) if not snapshot.is_as_loaded)]
    filled = [snapshot for snapshot in maps if len(snapshot.cloud.points)]
    if not filled:
        raise InputError("the map is empty")
    newest, *others = filled
    path = files[content_of(newest)] = save_map(newest, stored, folder, checkpoint, is_metric, export, surfaces)
    try:
        for snapshot in others:
            content = content_of(snapshot)
            if content not in files or not files[content].exists():
                files[content] = save_map(snapshot, stored, folder, checkpoint, is_metric, export, surfaces)
    except InputError as error:
        raise InputError(f"{error}; the newest map is saved: {path}") from error
    finally:
        with suppress(FileNotFoundError):  # a map without submaps
            os.utime(path.with_suffix(PLACES))  # the newest is loaded by default
    return path


def content_of(snapshot: MapSnapshot) -> bytes:
    """Digest of cloud and path."""
    digest = hashlib.blake2b()
    for array in (*snapshot.cloud, snapshot.stamps_ns, snapshot.map_from_cam):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def save_map(
    snapshot: MapSnapshot, stored: Mapping[int, StoredSubmap], folder: Path, checkpoint: str, is_metric: bool,
    export: SceneExport | None = None, surfaces: SurfaceFiles | None = None,
) -> Path:  # fmt: skip
    """Writes files named by time and map id; returns the PLY. See `save_maps`."""
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"map directory {folder}: {error.strerror}") from error
    base = folder / f"map_{time.strftime('%Y%m%d_%H%M%S')}_{snapshot.map_id}"
    write_ply(base.with_suffix(".ply"), *snapshot.cloud)
    write_pcd(base.with_suffix(".pcd"), *snapshot.cloud)
    write_tum(base.with_suffix(".txt"), snapshot.stamps_ns, snapshot.map_from_cam)
    if surfaces is not None:
        mesh, grid = (folder / f"{kind}{base.name.removeprefix('map')}" for kind in ("mesh", "grid"))
        write_surfaces(surfaces.of, snapshot.map_id, mesh.with_suffix(".ply"), grid.with_suffix(".pgm"), surfaces.band)
    saved = None
    if stored.keys() & snapshot.map_from_visual.keys():
        saved = SavedMap.of(snapshot, stored, checkpoint, is_metric)
        write_atomically(base.with_suffix(PLACES), saved.encoded())
    if export is not None:
        _export(base.with_suffix(SCENE), saved, export)
    return base.with_suffix(".ply")


def _export(folder: Path, saved: SavedMap | None, export: SceneExport) -> None:
    """Raises InputError: no image of the map is kept, or it cannot be written; the map is there nevertheless."""
    try:
        if saved is None:
            raise InputError(f"{folder}: no image of this map is kept, as no loops are closed in it")
        write_saved_scene(folder, saved, export)
    except InputError as error:
        raise InputError(f"{error}; the map is saved: {folder.with_suffix('.ply')}") from error


def open_map(
    folder: Path, name: str, checkpoint: str, is_metric: bool | None, notify: Callable[[str], None] = lambda _: None
) -> tuple[Path, SavedMap]:
    """A map by its name in the folder, as it was saved; without a name the newest one that can be used.

    ``notify`` is told of newer ones that cannot; ``is_metric`` None: any unit will do.

    Raises:
        InputError: there is none, it lies elsewhere, cannot be read, or belongs to another checkpoint or unit.
    """
    folder = folder.expanduser().resolve()
    paths = [_named(folder, name)] if name else _newest_first(folder)
    first: InputError | None = None
    for path in paths:
        try:
            return path, _checked(path, folder, checkpoint, is_metric)
        except InputError as error:
            first = first or error
            if not name:
                notify(f"passed over: {error}")
    raise first or InputError(f"no map to load in the map directory {folder} (*{PLACES})")


def _checked(path: Path, folder: Path, checkpoint: str, is_metric: bool | None) -> SavedMap:
    """Of a regular file in the folder itself: a pipe would never end, and a link may lead anywhere."""
    try:
        is_inside = path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError) as error:  # a circle of links
        raise InputError(f"{path}: {error}") from error
    if not is_inside:
        raise InputError(f"{path}: it is not in the map directory {folder}")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file")
    saved = read_saved_map(path)
    try:
        saved.check(checkpoint, saved.is_metric if is_metric is None else is_metric)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return saved


def _named(folder: Path, name: str) -> Path:
    try:
        path = (folder / f"{name.removesuffix(PLACES).removesuffix('.ply')}{PLACES}").resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a zero byte
        raise InputError(f"map {name!r}: {error}") from error
    if not path.is_relative_to(folder):
        raise InputError(f"map {name!r} is not in the map directory {folder}")
    return path


def _newest_first(folder: Path) -> list[Path]:
    """By the time of the entry itself: a link that leads nowhere has one, too."""
    entries = [(path.lstat().st_mtime_ns, path) for path in folder.glob(f"*{PLACES}")]
    return [path for _, path in sorted(entries, reverse=True)]
