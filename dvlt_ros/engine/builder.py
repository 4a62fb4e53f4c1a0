"""The map that grows from reconstructions: a voxel cloud and the path of the camera."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch

from ..alignment import Sim3
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
    """Thread-safe. Another ``map_id`` empties it.

    Frames whose place in the map is not known yet are kept apart until `place_waiting` tells it.
    """

    def __init__(self, config: EngineConfig, path_camera: str = "") -> None:
        """``path_camera`` is the one of a rig whose path it is."""
        self._path_camera = path_camera
        self._lock = threading.Lock()
        self._map = _Part(config.voxel_size, config.max_map_points)
        self._waiting = _Part(0.0, config.max_map_points)

    def add(self, reconstruction: Reconstruction, is_placed: bool = True) -> None:
        cloud = reconstruction.cloud(max(1, round((reconstruction.depth.size / POINTS_PER_FRAME) ** 0.5)))
        with self._lock:
            part = self._map if is_placed else self._waiting
            if reconstruction.map_id != part.map_id:
                part.begin(reconstruction.map_id)
            if reconstruction.camera == self._path_camera:
                part.extend_path(reconstruction.stamp_ns, reconstruction.map_from_cam)
            median_depth = float(np.nanmedian(reconstruction.depth)) if len(cloud.points) else 0.0
            part.extend_cloud(cloud, median_depth, reconstruction.map_from_cam[:3, 3])

    def place_waiting(self, map_from_waiting: Sim3, map_id: int) -> None:
        """The frames that waited join the map ``map_id``."""
        with self._lock:
            if map_id != self._map.map_id:
                self._map.begin(map_id)
            waiting, scale = self._waiting, map_from_waiting.scale.item()
            for stamp_ns, pose in zip(waiting.stamps_ns, waiting.poses, strict=True):
                self._map.extend_path(stamp_ns, map_from_waiting.apply_to_poses(torch.from_numpy(pose)).numpy())
            cloud = waiting.cloud()
            points = map_from_waiting.apply(torch.from_numpy(cloud.points).double()).numpy()
            position = map_from_waiting.apply(torch.from_numpy(waiting.camera_position)).numpy()
            self._map.extend_cloud(cloud._replace(points=points), scale * waiting.first_depth, position)
            self._waiting.begin(waiting.map_id)

    def snapshot(self) -> MapSnapshot:
        with self._lock:
            stamps = np.array(self._map.stamps_ns, dtype=np.int64)
            poses = np.stack(self._map.poses) if self._map.poses else np.empty((0, 4, 4))
            return MapSnapshot(self._map.map_id, self._map.cloud(), stamps, poses)


class _Part:
    """Cloud and path of one map_id."""

    def __init__(self, voxel_size: float, max_points: int) -> None:
        self._voxel_size, self._max_points = voxel_size, max_points
        self.begin(0)

    def begin(self, map_id: int) -> None:
        self.map_id = map_id
        self.first_depth = 0.0  # median, of the first frame with any
        self.camera_position = np.zeros(3)  # of the latest cloud
        self.stamps_ns: list[int] = []
        self.poses: list[np.ndarray] = []
        self._voxels: VoxelMap | None = None
        self._stride, self._num_poses = 1, 0  # of the path

    def cloud(self) -> Cloud:
        return EMPTY_CLOUD if self._voxels is None else self._voxels.cloud()

    def extend_cloud(self, cloud: Cloud, median_depth: float, camera_position: np.ndarray) -> None:
        """The voxels near the camera stay when there are too many."""
        if not len(cloud.points):
            return
        if self._voxels is None:
            self.first_depth = median_depth
            self._voxels = VoxelMap(self._voxel_size or AUTOMATIC_VOXEL * median_depth, self._max_points)
        self.camera_position = camera_position
        self._voxels.add(*cloud, camera_position=camera_position)

    def extend_path(self, stamp_ns: int, pose: np.ndarray) -> None:
        """Every pose at first; whenever the path is full, every second one goes and only every second one comes."""
        self._num_poses += 1
        if (self._num_poses - 1) % self._stride:
            return
        self.stamps_ns.append(stamp_ns)
        self.poses.append(pose)
        if len(self.poses) >= MAX_PATH:
            self.stamps_ns, self.poses = self.stamps_ns[::2], self.poses[::2]
            self._stride *= 2


EMPTY_CLOUD = Cloud(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32))
