"""Cloud, path and submaps of one map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ..data.corrections import Correction
from ..data.frames import Cloud
from ..data.region import Region
from .voxel_map import VoxelMap

AUTOMATIC_VOXEL = 0.01  # of the first frame's median depth
MAX_PATH = 1000
STILL = 0.1  # voxels that points may lie beside where they belong
EMPTY_CLOUD = Cloud(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32))


@dataclass(frozen=True, eq=False)
class MapSnapshot:
    map_id: int
    cloud: Cloud
    stamps_ns: np.ndarray  # (P,) int64
    map_from_cam: np.ndarray  # (P, 4, 4) float64
    voxel_size: float
    map_from_visual: Mapping[
        int, Sim3
    ]  # of each submap, by its number: pose and scale of its window's frame in the map
    is_as_loaded: bool = False  # nothing has been added to a loaded map


class MapPart:
    """Grows by frames, and by other maps that a loop joins to it. Not thread-safe."""

    def __init__(self, voxel_size: float, max_points: int) -> None:
        self._voxel_size, self._max_points = voxel_size, max_points
        self.begin(0)

    def begin(self, map_id: int) -> None:
        self.map_id = map_id
        self.first_depth = 0.0  # median, of the first frame with any
        self.camera_position = np.zeros(3)  # of the latest cloud
        self.stamps_ns: list[int] = []
        self.poses: list[np.ndarray] = []
        self.pose_submap_ids: list[int] = []
        self.submaps: dict[int, Sim3] = {}  # map_from_visual of each
        self._held_back: dict[int, np.ndarray] = {}  # (4, 4) of submaps, that their voxels have not moved by yet
        self._voxels: VoxelMap | None = None
        self._is_as_loaded = False
        self._stride = 1  # of the path
        self._num_poses = 0  # that were offered to the path

    def __len__(self) -> int:
        """Points."""
        return 0 if self._voxels is None else len(self._voxels)

    def cloud(self) -> Cloud:
        return EMPTY_CLOUD if self._voxels is None else self._voxels.cloud()

    def cloud_submap_ids(self) -> np.ndarray:
        """(N,) of the cloud's points."""
        return np.empty(0, np.int32) if self._voxels is None else self._voxels.submap_ids

    def snapshot(self) -> MapSnapshot:
        stamps = np.array(self.stamps_ns, dtype=np.int64)
        voxel_size = 0.0 if self._voxels is None else self._voxels.voxel_size
        return MapSnapshot(
            self.map_id, self.cloud(), stamps, self._stacked_poses(), voxel_size, self.submaps.copy(),
            self._is_as_loaded,
        )  # fmt: skip

    def load(self, saved: MapSnapshot, submap_id: int) -> None:
        """A saved map; a loop closure moves all of it together."""
        self.stamps_ns, self.poses = saved.stamps_ns.tolist(), list(saved.map_from_cam)
        self.pose_submap_ids, self._num_poses = [submap_id] * len(self.poses), len(self.poses)
        self.submaps, self._is_as_loaded = dict(saved.map_from_visual), True
        self.camera_position = self.poses[-1][:3, 3] if self.poses else saved.cloud.points.mean(axis=0)
        self._voxels = VoxelMap(saved.voxel_size, self._max_points)
        self._voxels.add(*saved.cloud, camera_position=self.camera_position, submap_ids=submap_id)

    def forget(self, submaps: Iterable[int]) -> None:
        for number in submaps:
            self.submaps.pop(number, None)

    def cut(self, region: Region) -> int:
        """Drops the voxels of a region; the path stays, as it was driven. Returns how many they were."""
        if self._voxels is None:
            return 0
        inside = region.contains(self._voxels.cloud().points)
        self._voxels.keep(~inside)
        self._is_as_loaded = False
        return int(inside.sum())

    def correct(self, correction: Correction) -> None:
        """Moves all of it with its submaps; it is the joined map from now on.

        Voxels come first: where memory does not suffice for them, path and submaps stay as they were.
        """
        of_poses = np.array(self.pose_submap_ids, np.int64)
        poses = list(correction.poses(self.map_id, of_poses, self._stacked_poses()))
        submaps, camera_position = correction.submaps_of(self.map_id, self.submaps), self.camera_position
        if len(of_poses):
            (change,) = correction.matrices(self.map_id, of_poses[-1:])
            camera_position = change[:3, :3] @ camera_position + change[:3, 3]
        if self._voxels is not None:
            self._held_back = self._move_voxels(self._voxels, correction, camera_position)
        self.poses, self.submaps, self.camera_position = poses, submaps, camera_position
        self.map_id, self._is_as_loaded = correction.map_id, False

    def _move_voxels(
        self, voxels: VoxelMap, correction: Correction, camera_position: np.ndarray
    ) -> dict[int, np.ndarray]:
        """To sort many points into voxels anew takes time: submaps that hardly move wait until they have moved more.

        Returns what is held back of each.
        """
        points, submap_ids = voxels.cloud().points, voxels.submap_ids
        if not len(points):
            return {}
        order = np.argsort(submap_ids, kind="stable")
        numbers, starts = np.unique(submap_ids[order], return_index=True)
        rows_of = np.split(order, starts[1:])
        moved: list[tuple[np.ndarray, np.ndarray]] = []
        held_back: dict[int, np.ndarray] = {}
        for number, rows, change in zip(numbers, rows_of, correction.matrices(self.map_id, numbers), strict=True):
            total = change @ self._held_back.get(number, np.eye(4))
            to = points[rows] @ total[:3, :3].T + total[:3, 3]
            if np.abs(to - points[rows]).max() > STILL * voxels.voxel_size:
                moved.append((rows, to))
            else:
                held_back[number] = total
        if moved:
            rows, to = (np.concatenate(parts) for parts in zip(*moved, strict=True))
            voxels.move(rows, to, camera_position)
        return held_back

    def extend(self, other: MapPart) -> None:
        """Adds another part of the same map."""
        self.stamps_ns += other.stamps_ns
        self.poses += other.poses
        self.pose_submap_ids += other.pose_submap_ids
        self.submaps |= other.submaps
        self._held_back |= other._held_back
        self._stride, self._num_poses = max(self._stride, other._stride), self._num_poses + other._num_poses
        while len(self.poses) >= MAX_PATH:
            self._thin_path()
        if other._voxels is not None:
            self.camera_position = other.camera_position
            if self._voxels is None:
                self.first_depth, self._voxels = other.first_depth, other._voxels
            else:
                self._voxels.add(*other.cloud(), self.camera_position, other.cloud_submap_ids())

    def _stacked_poses(self) -> np.ndarray:
        """(P, 4, 4)."""
        return np.stack(self.poses) if self.poses else np.empty((0, 4, 4))

    def extend_cloud(
        self, cloud: Cloud, median_depth: float, camera_position: np.ndarray, submap_ids: np.ndarray | int
    ) -> None:
        """If there are too many voxels, the ones farthest from the camera are dropped."""
        if not len(cloud.points):
            return
        self._is_as_loaded = False
        if self._voxels is None:
            self.first_depth = median_depth
            self._voxels = VoxelMap(self._voxel_size or AUTOMATIC_VOXEL * median_depth, self._max_points)
        self.camera_position = camera_position
        self._voxels.add(*cloud, camera_position=camera_position, submap_ids=submap_ids)

    def extend_path(self, stamp_ns: int, pose: np.ndarray, submap_id: int) -> None:
        """Keeps every pose at first; whenever the path is full, drops every second one and halves the rate."""
        self._num_poses += 1
        if (self._num_poses - 1) % self._stride:
            return
        self.stamps_ns.append(stamp_ns)
        self.poses.append(pose)
        self.pose_submap_ids.append(submap_id)
        if len(self.poses) >= MAX_PATH:
            self._thin_path()

    def _thin_path(self) -> None:
        self.stamps_ns, self.poses = self.stamps_ns[::2], self.poses[::2]
        self.pose_submap_ids = self.pose_submap_ids[::2]
        self._stride *= 2
