"""The map that grows from reconstructions: a voxel cloud and the path of the camera.

Every voxel and pose carries the id of its submap, so that a closed loop can move it. Maps that have ended are kept
while there is room, because a loop may join them to the current one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from ...alignment import IDENTITY, Sim3
from ..data.corrections import Correction
from ..data.frames import Reconstruction
from ..data.region import Region
from ..submaps.submap import Submap
from .config import MapConfig
from .map_part import MapPart, MapSnapshot
from .map_update import MapUpdate

POINTS_PER_FRAME = 4_000
MAX_KEPT = 10  # maps that have ended; together they have at most as many points as the current one


class MapBuilder:
    """Thread-safe. Another ``map_id`` begins another map.

    Frames whose pose in the map is not known yet are kept apart until `place_waiting`.
    """

    def __init__(
        self,
        config: MapConfig,
        path_camera: str | None = None,
        ended: Callable[[MapSnapshot, bool], None] | None = None,
    ) -> None:
        """``path_camera`` is the camera of a rig whose path is kept; None: there is one camera.

        ``ended`` gets every map that is not kept any longer, and whether it was placed: frames whose pose in the map
        never became known were not.
        """
        self._ended = ended
        self._path_camera = path_camera
        self._is_frozen = config.mode == "localization"  # the loaded map stays as it is
        self._lock = threading.Lock()
        self._voxel_size, self._max_points = config.voxel_size, config.max_points
        self._map = self._part(0)
        self._kept: list[MapPart] = []  # maps that have ended, oldest first
        self._waiting = MapPart(0.0, config.max_points)

    def add(self, reconstruction: Reconstruction, is_placed: bool = True, submap_id: int = 0) -> None:
        """Frames of one ``submap_id`` move together when a loop is closed, see `Correction`."""
        reconstruction = reconstruction.for_map
        cloud = reconstruction.cloud(max(1, round((reconstruction.depth.size / POINTS_PER_FRAME) ** 0.5)))
        with self._lock:
            if is_placed:
                self._turn_to(reconstruction.map_id)
            elif reconstruction.map_id != self._waiting.map_id:
                self._begin_waiting(reconstruction.map_id)
            part = self._map if is_placed else self._waiting
            if self._path_camera in (None, reconstruction.camera):
                part.extend_path(reconstruction.stamp_ns, reconstruction.map_from_cam, submap_id)
            median_depth = float(np.nanmedian(reconstruction.depth)) if len(cloud.points) else 0.0
            part.extend_cloud(cloud, median_depth, reconstruction.map_from_cam[:3, 3], submap_id)

    def integrate(self, update: MapUpdate) -> None:
        """Corrections first, then earlier frames whose pose becomes known, then the new submap and its frames.

        Moving a large map takes time.
        """
        for correction in update.corrections:
            self.correct(correction)
        if update.window is None:
            return
        if self._is_frozen and update.is_placed:
            self._drop_waiting()
            return
        if update.map_from_visual is not None:
            self.place_waiting(update.map_from_visual, update.window.map_id)
        if update.submap is not None and update.submap.is_place:
            self.add_submap(update.submap, update.window.map_id, update.map_from_submap)
        for frame in update.frames:
            self.add(frame, update.is_placed, update.window.submap_id)

    def add_submap(self, submap: Submap, map_id: int, map_from_visual: Sim3 | None) -> None:
        """``map_from_visual`` is None if the submap's pose in the map is not known yet."""
        with self._lock:
            if map_from_visual is not None:
                self._turn_to(map_id)
                self._map.submaps[submap.number] = map_from_visual
            else:
                if map_id != self._waiting.map_id:
                    self._begin_waiting(map_id)
                self._waiting.submaps[submap.number] = IDENTITY
            for part in (*self._kept, self._map, self._waiting):
                part.forget(submap.forgotten)

    def load(self, saved: MapSnapshot, submap_id: int) -> None:
        """Makes a saved map the current one, until a frame of another map is added."""
        with self._lock:
            ended, self._map = self._map, self._part(saved.map_id)
            self._map.load(saved, submap_id)
            self._keep(ended, self._kept)

    def cut(self, region: Region, submaps: Iterable[int]) -> int:
        """Drops the current map's voxels of a region, and these submaps; returns the number of voxels."""
        with self._lock:
            self._map.forget(submaps)
            return self._map.cut(region)

    def correct(self, correction: Correction) -> None:
        """Moves poses and voxels by a closed loop; maps that it joins become one."""
        with self._lock:
            moved = [part for part in (*self._kept, self._map) if part.map_id in correction.map_ids]
            if not moved:
                return
            for part in moved:
                part.correct(correction)
            grown = moved[0]
            for part in moved[1:]:
                grown.extend(part)
            rest = [part for part in self._kept if part not in moved]
            if self._map in moved:
                self._kept, self._map = rest, grown
            else:
                self._keep(grown, rest)

    def _part(self, map_id: int) -> MapPart:
        part = MapPart(self._voxel_size, self._max_points)
        part.begin(map_id)
        return part

    def _turn_to(self, map_id: int) -> None:
        """Makes a map the current one: one that is kept, or a new one."""
        if map_id == self._map.map_id:
            return
        known = next((part for part in self._kept if part.map_id == map_id), None)
        rest = [part for part in self._kept if part is not known]
        ended, self._map = self._map, self._part(map_id) if known is None else known
        self._keep(ended, rest)

    def _keep(self, part: MapPart, others: list[MapPart]) -> None:
        """Keeps as many maps as there is room for; drops the oldest first, saved maps (ids below zero) last."""
        self._kept = (
            [*others, part] if part.stamps_ns or len(part) else others
        )  # the path is empty while a rig's first camera is silent
        while len(self._kept) > MAX_KEPT or sum(map(len, self._kept)) > self._max_points:
            dropped = next((part for part in self._kept if part.map_id >= 0), self._kept[0])
            self._kept.remove(dropped)
            if self._ended is not None:
                self._ended(dropped.snapshot(), True)

    def place_waiting(self, map_from_waiting: Sim3, map_id: int) -> None:
        """Adds the frames that waited to the map ``map_id``."""
        with self._lock:
            self._turn_to(map_id)
            waiting = self._waiting
            for stamp_ns, pose, submap_id in zip(
                waiting.stamps_ns, waiting.poses, waiting.pose_submap_ids, strict=True
            ):
                placed = map_from_waiting.apply_to_poses(pose)
                self._map.extend_path(stamp_ns, placed, submap_id)
            cloud = waiting.cloud()
            points = map_from_waiting.apply(cloud.points.astype(np.float64))
            position = map_from_waiting.apply(waiting.camera_position)
            depth = map_from_waiting.scale.item() * waiting.first_depth
            self._map.extend_cloud(cloud._replace(points=points), depth, position, waiting.cloud_submap_ids())
            self._map.submaps |= dict.fromkeys(waiting.submaps, map_from_waiting)
            self._waiting.begin(waiting.map_id)

    def _drop_waiting(self) -> None:
        """The pose of the frames that waited is known, and the map does not grow by them."""
        with self._lock:
            self._waiting.begin(self._waiting.map_id)

    def finish(self) -> None:
        """Hands every map to ``ended``, the current one last; nothing is added afterwards."""
        with self._lock:
            self._begin_waiting(self._waiting.map_id)
            if self._ended is not None:
                for part in (*self._kept, self._map):
                    self._ended(part.snapshot(), True)

    def _begin_waiting(self, map_id: int) -> None:
        """Frames of another visual map wait from now on; the pose of those that waited never becomes known."""
        if self._ended is not None and (len(self._waiting) or self._waiting.stamps_ns):
            self._ended(self._waiting.snapshot(), False)
        self._waiting.begin(map_id)

    def snapshot(self) -> MapSnapshot:
        with self._lock:
            return self._map.snapshot()

    def snapshots(self) -> list[MapSnapshot]:
        """All maps at the same time: those that have ended, oldest first, then the current one."""
        with self._lock:
            return [part.snapshot() for part in (*self._kept, self._map)]
