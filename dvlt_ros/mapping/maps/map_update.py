"""What one window changes in the map: every client of the mapper applies these updates in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ..data.corrections import Correction
from ..data.frames import Reconstruction
from ..front_end.window_result import WindowResult
from ..submaps.submap import Submap
from .visual_odometry import OdometryStep


@dataclass(frozen=True, eq=False)
class MapUpdate:
    """One window in the map, and what it changes in the frames before it.

    A client applies, in this order: ``corrections`` to all earlier frames, ``map_from_visual`` to the frames of this
    visual map whose pose in the map was not known yet, then the new ``frames``.
    """

    window: WindowResult | None  # poses and depths in the map; None: the update only corrects
    visual: WindowResult | None  # as the front end found it: by vision alone, in the unit and frame of the visual map
    is_metric: bool  # lengths are metres
    is_placed: bool  # False: the metric scale is not known yet, frames wait for it; or the camera is lost
    corrections: tuple[Correction, ...] = ()  # closed loops move earlier frames, and may join maps
    map_from_visual: Sim3 | None = None  # places earlier frames of this visual map
    map_from_submap: Sim3 | None = None  # map_from_visual at the new submap; None: not known yet
    map_from_odom: np.ndarray | None = None  # (4, 4), metres, at the newest frame
    is_lost: bool = False  # the map is a saved one that stays as it is, and the camera has not been found in it
    odometry: tuple[OdometryStep, ...] = ()  # by the images alone, of the new frames; only in metres

    @property
    def frames(self) -> tuple[Reconstruction, ...]:
        """The new frames, oldest first."""
        return () if self.window is None else self.window.reconstructions

    @property
    def visual_id(self) -> int | None:
        """Id of the visual map, in which waiting frames are given."""
        return None if self.visual is None else self.visual.map_id

    @property
    def submap(self) -> Submap | None:
        """The new submap, if the window became one."""
        return None if self.window is None else self.window.submap

    @property
    def map_id(self) -> int | None:
        """Map of the frames; it changes when another map begins or maps are joined. None: no frames."""
        return None if self.window is None else self.window.map_id
