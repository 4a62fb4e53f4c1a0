"""Surfaces as files: PLY and GLB, an OctoMap, and the picture with its YAML that map_server and Nav2 load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputError
from ...export.atomic import write_atomically
from ...export.files import write_mesh_ply
from ...export.glb import write_mesh_glb
from .grid import FREE, OCCUPIED, Band, Grid
from .octomap import octomap
from .surface_map import SurfaceMap

GREY = {FREE: 254, OCCUPIED: 0}  # of the picture; unknown cells are 205, which map_server takes for neither
UNKNOWN_GREY = 205
OCCUPIED_ABOVE, FREE_BELOW = 0.65, 0.196  # of the darkness from 0 to 1


def write_surfaces(surface_map: SurfaceMap, map_id: int, mesh: Path, grid: Path, band: Band, comment: str = "") -> None:
    """Mesh as ``mesh``, beside it as GLB and the voxels (.bt), grid as ``grid`` (.pgm) and beside it as YAML.

    All of one map; the voxels are called as the mesh is, with ``voxels`` in place of ``mesh``.

    What there is none of is not written: a map without keyframes has no mesh, one without metres no grid.

    Raises:
        InputError: a file cannot be written.
    """
    surfaces = surface_map.of_map(map_id)
    if surfaces is None or not len((found := surfaces.mesh()).triangles):
        return
    write_mesh_ply(mesh, found.vertices, found.colors, found.triangles, comment)
    voxels = mesh.with_name(mesh.name.replace("mesh", "voxels", 1)).with_suffix(".bt")
    write_atomically(voxels, octomap(surfaces.volume))
    write_mesh_glb(mesh.with_suffix(".glb"), found.vertices, found.colors, found.triangles)
    try:
        surface_map.check_grid()
    except InputError:
        return
    if (cells := surfaces.grid(band)) is not None:
        write_grid(grid, cells)


def write_grid(path: Path, grid: Grid) -> None:
    """``path`` (.pgm), whose first row is at the highest y, and the YAML beside it."""
    shades: np.ndarray = np.full(grid.cells.shape, UNKNOWN_GREY, np.uint8)
    for cell, grey in GREY.items():
        shades[grid.cells == cell] = grey
    rows, columns = grid.cells.shape
    write_atomically(path, f"P5\n{columns} {rows}\n255\n".encode() + shades[::-1].tobytes())
    x, y = grid.origin
    lines = [
        f"image: {path.name}", "mode: trinary", f"resolution: {grid.resolution:.6g}",
        f"origin: [{x:.6f}, {y:.6f}, 0.0]", "negate: 0", f"occupied_thresh: {OCCUPIED_ABOVE}",
        f"free_thresh: {FREE_BELOW}",
    ]  # fmt: skip
    write_atomically(path.with_suffix(".yaml"), ("\n".join(lines) + "\n").encode())
