"""Every frame that came out, and where it is now: scale and loops move what was written long ago."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..mapping.data.frames import Reconstruction
from ..mapping.data.moving import correct, of_map, place_waiting
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
        moved = [frame for correction in update.corrections for frame in correct(self.frames, correction)]
        if update.map_from_visual is not None and update.map_id is not None and update.visual_id is not None:
            moved += place_waiting(self.frames, update.map_from_visual, update.visual_id, update.map_id)
        for frame in moved:
            frame.has_moved = True

    def add(self, reconstruction: Reconstruction, submap_id: int, is_placed: bool) -> LoggedFrame:
        self.frames.append(
            LoggedFrame(
                reconstruction.stamp_ns, reconstruction.frame_id, reconstruction.map_id, submap_id,
                reconstruction.map_from_cam, is_placed, reconstruction.camera, reconstruction.name,
            )
        )  # fmt: skip
        return self.frames[-1]

    def of_map(self, map_id: int) -> list[LoggedFrame]:
        return of_map(self.frames, map_id)

    def waiting(self, visual_id: int) -> list[LoggedFrame]:
        """Of a visual map, without a place."""
        return [frame for frame in self.frames if not frame.is_placed and frame.map_id == visual_id]
