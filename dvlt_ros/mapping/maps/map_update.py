"""What a window changes in the map: the one stream that every client of the mapper follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ..data.corrections import Correction
from ..data.frames import Reconstruction
from ..front_end.window_result import WindowResult
from ..submaps.submap import Submap


@dataclass(frozen=True, eq=False)
class MapUpdate:
    """One window in the map, and what it says of the frames before it.

    A client applies, in this order: ``corrections`` to all earlier frames, ``map_from_visual`` to the frames of this
    visual map that waited for their place, then the new ``frames``.
    """

    window: WindowResult | None  # as it lies in the map; None: the update only corrects
    visual: WindowResult | None  # as the front end has it: by vision alone, in the unit and frame of its own map
    is_metric: bool  # lengths are metres
    is_placed: bool  # False: a metric source is configured, and the scale is not known yet; frames wait
    corrections: tuple[Correction, ...] = ()  # closed loops move earlier frames, and may join maps
    map_from_visual: Sim3 | None = None  # earlier frames of this visual map become known by it
    map_from_submap: Sim3 | None = None  # map_from_visual at the new submap; None: its place is not known yet
    map_from_odom: np.ndarray | None = None  # (4, 4), metres, at the newest frame

    @property
    def frames(self) -> tuple[Reconstruction, ...]:
        """The new ones, oldest first."""
        return () if self.window is None else self.window.reconstructions

    @property
    def visual_id(self) -> int | None:
        """Of the front end's map, in which frames that wait are."""
        return None if self.visual is None else self.visual.map_id

    @property
    def submap(self) -> Submap | None:
        """The new one, if the window became one."""
        return None if self.window is None else self.window.submap

    @property
    def map_id(self) -> int | None:
        """Of the frames; another one than before: another map has begun, or maps were joined. None: no frames."""
        return None if self.window is None else self.window.map_id
