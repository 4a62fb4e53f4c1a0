"""`~/save_map`: the map as PLY and PCD in the map directory, and the path in TUM format."""

from __future__ import annotations

import time
from pathlib import Path

from ..engine.builder import MapSnapshot
from ..errors import InputError
from ..export import write_pcd, write_ply, write_tum


def save_map(snapshot: MapSnapshot, directory: str) -> Path:
    """Writes three files of one name, which is the time; returns the PLY.

    Raises:
        InputError: nothing to save, or a directory that cannot be written.
    """
    if not len(snapshot.cloud.points):
        raise InputError("the map is empty")
    folder = Path(directory).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"map_directory {folder}: {error.strerror}") from error
    base = folder / f"map_{time.strftime('%Y%m%d_%H%M%S')}_{snapshot.map_id}"
    write_ply(base.with_suffix(".ply"), *snapshot.cloud)
    write_pcd(base.with_suffix(".pcd"), *snapshot.cloud)
    write_tum(base.with_suffix(".txt"), snapshot.stamps_ns, snapshot.map_from_cam)
    return base.with_suffix(".ply")
