"""Every frame that came out, and where it is now: scale and loops move what was written long ago."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..alignment import IDENTITY, Sim3
from ..mapping.data.corrections import Correction
from ..mapping.data.frames import Reconstruction
from ..mapping.maps.map_update import MapUpdate


@dataclass(eq=False)
class LoggedFrame:
    """Where a frame is, and by how much its lengths have grown since they were written."""

    stamp_ns: int
    frame_id: str
    map_id: int  # while it has no place: the visual map's
    submap_id: int  # what moves together when a loop is closed
    map_from_cam: np.ndarray  # (4, 4), rigid
    is_placed: bool  # False: its unit is that of a visual map, which has no place in the map
    camera: str = ""  # name within a rig
    name: str = ""  # of its file, where it has one of its own
    intrinsics: np.ndarray | None = None  # (3, 3), pixels of its depth image
    size: tuple[int, int] = (0, 0)  # (height, width) of its depth image
    scale: float = 1.0
    has_moved: bool = False


class FrameLog:
    """In the order in which frames came."""

    def __init__(self) -> None:
        self.frames: list[LoggedFrame] = []

    def apply(self, update: MapUpdate) -> None:
        """What an update changes in the frames before it."""
        for correction in update.corrections:
            self.correct(correction)
        if update.map_from_visual is not None and update.map_id is not None and update.visual_id is not None:
            self.place_waiting(update.map_from_visual, update.visual_id, update.map_id)

    def add(self, reconstruction: Reconstruction, submap_id: int, is_placed: bool) -> LoggedFrame:
        self.frames.append(
            LoggedFrame(
                reconstruction.stamp_ns, reconstruction.frame_id, reconstruction.map_id, submap_id,
                reconstruction.map_from_cam, is_placed, reconstruction.camera, reconstruction.name,
            )
        )  # fmt: skip
        return self.frames[-1]

    def of_map(self, map_id: int) -> list[LoggedFrame]:
        return [frame for frame in self.frames if frame.is_placed and frame.map_id == map_id]

    def waiting(self, visual_id: int) -> list[LoggedFrame]:
        """Of a visual map, without a place."""
        return [frame for frame in self.frames if not frame.is_placed and frame.map_id == visual_id]

    def place_waiting(self, map_from_visual: Sim3, visual_id: int, map_id: int) -> None:
        """The frames of a visual map that waited have become known."""
        for frame in self.waiting(visual_id):
            pose = map_from_visual.apply_to_poses(frame.map_from_cam)
            frame.map_from_cam, frame.map_id, frame.is_placed, frame.has_moved = pose, map_id, True, True
            frame.scale *= map_from_visual.scale.item()

    def correct(self, correction: Correction) -> None:
        """A loop has been closed: the maps that it joins are one from now on."""
        maps = {map_id: self.of_map(map_id) for map_id in np.unique(correction.map_ids).tolist()}
        for map_id, frames in maps.items():
            if not frames:
                continue
            submap_ids = np.array([frame.submap_id for frame in frames])
            poses = correction.poses(map_id, submap_ids, np.stack([frame.map_from_cam for frame in frames]))
            moved = correction.submaps_of(map_id, dict.fromkeys(submap_ids.tolist(), IDENTITY))
            for frame, pose in zip(frames, poses, strict=True):
                frame.map_from_cam, frame.map_id, frame.has_moved = pose, correction.map_id, True
                frame.scale *= moved[frame.submap_id].scale.item()
