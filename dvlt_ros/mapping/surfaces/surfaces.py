"""A volume, and the mesh and the grid that are read from it."""

from __future__ import annotations

import numpy as np

from .fusion import DepthView, fuse
from .grid import Band, Grid, GridBuilder
from .mesh import BlockMeshes, Mesh
from .volume import Volume


class Surfaces:
    """Of one map. Mesh and grid follow when they are asked for. Not thread-safe."""

    def __init__(self, map_id: int, voxel_size: float, max_blocks: int) -> None:
        self.map_id = map_id
        self.volume = Volume(voxel_size, max_blocks)
        self._meshes = BlockMeshes()
        self._grid: GridBuilder | None = None
        self._lowest_camera = np.inf  # height in the map; the floor is below all cameras
        self._for_mesh = self._for_grid = np.empty(0, np.int64)  # keys of changed blocks

    @property
    def num_bytes(self) -> int:
        return self.volume.num_bytes + self._meshes.num_bytes

    def fuse(self, view: DepthView) -> None:
        fuse(self.volume, view)
        self._lowest_camera = min(self._lowest_camera, float(view.map_from_cam[2, 3]))

    def meshes(self) -> tuple[BlockMeshes, np.ndarray]:
        """The meshes of all blocks, and the keys (N,) of those that may have changed since the last call."""
        self._take_changed()
        around = self._meshes.follow(self.volume, self._for_mesh)
        self._for_mesh = np.empty(0, np.int64)
        return self._meshes, around

    def mesh(self) -> Mesh:
        return self.meshes()[0].mesh

    def grid(self, band: Band) -> Grid | None:
        """None: no floor has been seen below the cameras, or nothing above it."""
        self._take_changed()
        changed = self._for_grid
        if self._grid is None or self._grid.band != band:
            self._grid, changed = GridBuilder(self.volume, band), self.volume.keys
        self._grid.follow(changed, self._lowest_camera)
        self._for_grid = np.empty(0, np.int64)
        return self._grid.grid()

    def _take_changed(self) -> None:
        changed = self.volume.take_changed()
        self._for_mesh, self._for_grid = np.union1d(self._for_mesh, changed), np.union1d(self._for_grid, changed)
