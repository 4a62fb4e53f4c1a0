"""Maps that the node reads, and that a recording finds itself in."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..mapping.map_files import PLACES
from ..mapping.mapper import Mapper


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
