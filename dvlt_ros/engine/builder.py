"""The map that grows from reconstructions: a voxel cloud and the path of the camera."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from .config import EngineConfig
from .frames import Cloud, Reconstruction
from .voxel_map import VoxelMap

AUTOMATIC_VOXEL = 0.01  # of the first frame's median depth
POINTS_PER_FRAME = 4_000
MAX_PATH = 1000


@dataclass(frozen=True, eq=False)
class MapSnapshot:
    map_id: int
    cloud: Cloud
    stamps_ns: np.ndarray  # (P,) int64
    map_from_cam: np.ndarray  # (P, 4, 4) float64


class MapBuilder:
    """Thread-safe. Another ``map_id`` empties it."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._map_id = 0
        self._voxels: VoxelMap | None = None
        self._stamps_ns: list[int] = []
        self._poses: list[np.ndarray] = []
        self._stride, self._num_poses = 1, 0  # of the path

    def add(self, reconstruction: Reconstruction) -> None:
        cloud = reconstruction.cloud(max(1, round((reconstruction.depth.size / POINTS_PER_FRAME) ** 0.5)))
        with self._lock:
            if reconstruction.map_id != self._map_id:
                self._begin(reconstruction.map_id)
            self._extend_path(reconstruction)
            if self._voxels is None and len(cloud.points):
                voxel_size = self._config.voxel_size or AUTOMATIC_VOXEL * float(np.nanmedian(reconstruction.depth))
                self._voxels = VoxelMap(voxel_size, self._config.max_map_points)
            if self._voxels is not None:
                self._voxels.add(*cloud, camera_position=reconstruction.map_from_cam[:3, 3])

    def snapshot(self) -> MapSnapshot:
        with self._lock:
            cloud = self._voxels.cloud() if self._voxels is not None else EMPTY_CLOUD
            stamps = np.array(self._stamps_ns, dtype=np.int64)
            poses = np.stack(self._poses) if self._poses else np.empty((0, 4, 4))
            return MapSnapshot(self._map_id, cloud, stamps, poses)

    def _begin(self, map_id: int) -> None:
        self._map_id = map_id
        self._voxels = None
        self._stamps_ns, self._poses = [], []
        self._stride, self._num_poses = 1, 0

    def _extend_path(self, reconstruction: Reconstruction) -> None:
        """Every pose at first; whenever the path is full, every second one goes and only every second one comes."""
        self._num_poses += 1
        if (self._num_poses - 1) % self._stride:
            return
        self._stamps_ns.append(reconstruction.stamp_ns)
        self._poses.append(reconstruction.map_from_cam)
        if len(self._poses) >= MAX_PATH:
            self._stamps_ns, self._poses = self._stamps_ns[::2], self._poses[::2]
            self._stride *= 2


EMPTY_CLOUD = Cloud(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32))
