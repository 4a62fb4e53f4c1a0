"""The map that grows from reconstructions: a voxel cloud and the path of the camera.

Voxels and path know the segment of the drive that they come from, so that a closed loop can move them. Maps that have
ended are kept as long as there is room, for a loop may join them to the one that grows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..alignment import Sim3
from .config import EngineConfig
from .corrections import Correction
from .frames import Cloud, Reconstruction
from .map_graph import IDENTITY
from .stations import Station
from .voxel_map import VoxelMap

AUTOMATIC_VOXEL = 0.01  # of the first frame's median depth
POINTS_PER_FRAME = 4_000
MAX_PATH = 1000
MAX_KEPT = 10  # maps that have ended; together they have at most as many points as the one that grows


@dataclass(frozen=True, eq=False)
class MapSnapshot:
    map_id: int
    cloud: Cloud
    stamps_ns: np.ndarray  # (P,) int64
    map_from_cam: np.ndarray  # (P, 4, 4) float64
    voxel_size: float
    map_from_visual: Mapping[int, Sim3]  # of each station, by its number: where it has its own window's frame
    is_as_loaded: bool = False  # nothing has come to a map that was loaded


class MapBuilder:
    """Thread-safe. Another ``map_id`` begins another map.

    Frames whose place in the map is not known yet are kept apart until `place_waiting` tells it.
    """

    def __init__(self, config: EngineConfig, path_camera: str = "") -> None:
        """``path_camera`` is the one of a rig whose path it is."""
        self._path_camera = path_camera
        self._lock = threading.Lock()
        self._voxel_size, self._max_points = config.voxel_size, config.max_map_points
        self._map = self._part(0)
        self._kept: list[_Part] = []  # maps that have ended, oldest first
        self._waiting = _Part(0.0, config.max_map_points)

    def add(self, reconstruction: Reconstruction, is_placed: bool = True, segment: int = 0) -> None:
        """``segment``: what moves together when a loop is closed, see `Correction`."""
        cloud = reconstruction.cloud(max(1, round((reconstruction.depth.size / POINTS_PER_FRAME) ** 0.5)))
        with self._lock:
            if is_placed:
                self._turn_to(reconstruction.map_id)
            elif reconstruction.map_id != self._waiting.map_id:
                self._waiting.begin(reconstruction.map_id)
            part = self._map if is_placed else self._waiting
            if reconstruction.camera == self._path_camera:
                part.extend_path(reconstruction.stamp_ns, reconstruction.map_from_cam, segment)
            median_depth = float(np.nanmedian(reconstruction.depth)) if len(cloud.points) else 0.0
            part.extend_cloud(cloud, median_depth, reconstruction.map_from_cam[:3, 3], segment)

    def add_station(self, station: Station, map_id: int, map_from_visual: Sim3 | None) -> None:
        """``map_from_visual`` is None if its place in the map is not known yet."""
        with self._lock:
            if map_from_visual is not None:
                self._turn_to(map_id)
                self._map.stations[station.number] = map_from_visual
            else:
                if map_id != self._waiting.map_id:
                    self._waiting.begin(map_id)
                self._waiting.stations[station.number] = IDENTITY
            for part in (*self._kept, self._map, self._waiting):
                part.forget(station.forgotten)

    def load(self, saved: MapSnapshot, segment: int) -> None:
        """A map from elsewhere is the current one, until a frame of another one comes."""
        with self._lock:
            ended, self._map = self._map, self._part(saved.map_id)
            self._map.load(saved, segment)
            self._keep(ended, self._kept)

    def correct(self, correction: Correction) -> None:
        """A loop has been closed: maps that it joins become one."""
        with self._lock:
            moved = [part for part in (*self._kept, self._map) if part.map_id in correction.map_ids]
            if not moved:
                return
            grown = self._part(correction.map_id)
            for part in moved:
                grown.extend(part, correction)
            rest = [part for part in self._kept if part not in moved]
            if self._map in moved:
                self._kept, self._map = rest, grown
            else:
                self._keep(grown, rest)

    def _part(self, map_id: int) -> _Part:
        part = _Part(self._voxel_size, self._max_points)
        part.begin(map_id)
        return part

    def _turn_to(self, map_id: int) -> None:
        """To a map that is known, or to a new one."""
        if map_id == self._map.map_id:
            return
        known = next((part for part in self._kept if part.map_id == map_id), None)
        rest = [part for part in self._kept if part is not known]
        ended, self._map = self._map, self._part(map_id) if known is None else known
        self._keep(ended, rest)

    def _keep(self, part: _Part, others: list[_Part]) -> None:
        """As many as there is room for; the oldest ones leave, those of saved maps, numbered below zero, last."""
        self._kept = [*others, part] if part.stamps_ns else others
        while len(self._kept) > MAX_KEPT or sum(map(len, self._kept)) > self._max_points:
            self._kept.remove(next((part for part in self._kept if part.map_id >= 0), self._kept[0]))

    def place_waiting(self, map_from_waiting: Sim3, map_id: int) -> None:
        """The frames that waited join the map ``map_id``."""
        with self._lock:
            self._turn_to(map_id)
            waiting, scale = self._waiting, map_from_waiting.scale.item()
            for stamp_ns, pose, segment in zip(waiting.stamps_ns, waiting.poses, waiting.pose_segments, strict=True):
                placed = map_from_waiting.apply_to_poses(torch.from_numpy(pose)).numpy()
                self._map.extend_path(stamp_ns, placed, segment)
            cloud = waiting.cloud()
            points = map_from_waiting.apply(torch.from_numpy(cloud.points).double()).numpy()
            position = map_from_waiting.apply(torch.from_numpy(waiting.camera_position)).numpy()
            depth = scale * waiting.first_depth
            self._map.extend_cloud(cloud._replace(points=points), depth, position, waiting.cloud_segments())
            self._map.stations |= dict.fromkeys(waiting.stations, map_from_waiting)
            self._waiting.begin(waiting.map_id)

    def snapshot(self) -> MapSnapshot:
        with self._lock:
            return self._map.snapshot()

    def snapshots(self) -> list[MapSnapshot]:
        """All of one moment: the maps that have ended, oldest first, and the one that grows."""
        with self._lock:
            return [part.snapshot() for part in (*self._kept, self._map)]

    def kept(self) -> list[MapSnapshot]:
        """The maps that have ended, oldest first."""
        return self.snapshots()[:-1]


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
        self.pose_segments: list[int] = []
        self.stations: dict[int, Sim3] = {}  # map_from_visual of each
        self._voxels: VoxelMap | None = None
        self._is_as_loaded = False
        self._stride, self._num_poses = 1, 0  # of the path

    def __len__(self) -> int:
        """Points."""
        return 0 if self._voxels is None else len(self._voxels)

    def cloud(self) -> Cloud:
        return EMPTY_CLOUD if self._voxels is None else self._voxels.cloud()

    def cloud_segments(self) -> np.ndarray:
        """(N,) of the cloud's points."""
        return np.empty(0, np.int32) if self._voxels is None else self._voxels.segments

    def snapshot(self) -> MapSnapshot:
        stamps = np.array(self.stamps_ns, dtype=np.int64)
        voxel_size = 0.0 if self._voxels is None else self._voxels.voxel_size
        return MapSnapshot(
            self.map_id, self.cloud(), stamps, self._stacked_poses(), voxel_size, self.stations.copy(),
            self._is_as_loaded,
        )  # fmt: skip

    def load(self, saved: MapSnapshot, segment: int) -> None:
        """All of it moves together."""
        self.stamps_ns, self.poses = saved.stamps_ns.tolist(), list(saved.map_from_cam)
        self.pose_segments, self._num_poses = [segment] * len(self.poses), len(self.poses)
        self.stations, self._is_as_loaded = dict(saved.map_from_visual), True
        self.camera_position = self.poses[-1][:3, 3]
        self._voxels = VoxelMap(saved.voxel_size, self._max_points)
        self._voxels.add(*saved.cloud, camera_position=self.camera_position, segments=segment)

    def forget(self, stations: Iterable[int]) -> None:
        for number in stations:
            self.stations.pop(number, None)

    def extend(self, other: _Part, correction: Correction) -> None:
        """By a map that came later, moved as a loop says."""
        segments = np.array(other.pose_segments, np.int64)
        poses = correction.poses(other.map_id, segments, other._stacked_poses())
        self.stamps_ns += other.stamps_ns
        self.poses += list(poses)
        self.pose_segments += other.pose_segments
        self.stations |= correction.stations_of(other.map_id, other.stations)
        self._stride, self._num_poses = max(self._stride, other._stride), self._num_poses + other._num_poses
        while len(self.poses) >= MAX_PATH:
            self._thin_path()
        if other._voxels is not None:
            if self._voxels is None:
                self.first_depth = other.first_depth
                self._voxels = VoxelMap(other._voxels.voxel_size, self._max_points)
            cloud, of_cloud = other.cloud(), other.cloud_segments()
            points = correction.points(other.map_id, of_cloud, cloud.points)
            if other.pose_segments:
                latest = np.array(other.pose_segments[-1:], np.int64)
                self.camera_position = correction.points(other.map_id, latest, other.camera_position[None])[0]
            self._voxels.add(points, cloud.colors, cloud.confidence, self.camera_position, of_cloud)

    def _stacked_poses(self) -> np.ndarray:
        """(P, 4, 4)."""
        return np.stack(self.poses) if self.poses else np.empty((0, 4, 4))

    def extend_cloud(
        self, cloud: Cloud, median_depth: float, camera_position: np.ndarray, segments: np.ndarray | int
    ) -> None:
        """The voxels near the camera stay when there are too many."""
        if not len(cloud.points):
            return
        if self._voxels is None:
            self.first_depth = median_depth
            self._voxels = VoxelMap(self._voxel_size or AUTOMATIC_VOXEL * median_depth, self._max_points)
        self.camera_position = camera_position
        self._voxels.add(*cloud, camera_position=camera_position, segments=segments)

    def extend_path(self, stamp_ns: int, pose: np.ndarray, segment: int) -> None:
        """Every pose at first; whenever the path is full, every second one goes and only every second one comes."""
        self._num_poses += 1
        self._is_as_loaded = False
        if (self._num_poses - 1) % self._stride:
            return
        self.stamps_ns.append(stamp_ns)
        self.poses.append(pose)
        self.pose_segments.append(segment)
        if len(self.poses) >= MAX_PATH:
            self._thin_path()

    def _thin_path(self) -> None:
        self.stamps_ns, self.poses = self.stamps_ns[::2], self.poses[::2]
        self.pose_segments = self.pose_segments[::2]
        self._stride *= 2


EMPTY_CLOUD = Cloud(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32))
