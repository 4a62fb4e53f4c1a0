"""The engine's maps as they are, each in a unit of its own, and moved by closed loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..alignment import Sim3
from ..errors import InputError
from .corrections import Correction
from .engine import WindowResult
from .frames import Reconstruction
from .graph_config import Loop, RefusedLoop
from .map_graph import IDENTITY, MapGraph
from .metric_map import PlacedWindow


class UnscaledMap:
    """Takes every window of the engine, in order, as `MetricMap` does. Not thread-safe."""

    def __init__(self, graph: MapGraph | None = None) -> None:
        """``graph`` is None if no loops are closed."""
        self._graph = graph
        self._visual_id: int | None = None
        self._map_id = 0
        self._map_from_visual = IDENTITY
        self._corrections: tuple[Correction, ...] = ()  # nobody has been told yet

    @property
    def is_placed(self) -> bool:
        return True

    def restart(self) -> None:
        """No loop will join what comes to what was before."""
        if self._graph is not None:
            self._graph.forget()
        self._corrections = ()

    def load(self, stations: Sequence[int]) -> int:
        """Begins anew beside a saved map, to which loops may join what comes. Returns its number."""
        if self._graph is None:
            raise InputError("no loops are closed")
        self.restart()
        return self._graph.load(stations)

    def expected_scale(self, first: int, second: int) -> float | None:
        """The first station's units per unit of the second, as far as anybody knows."""
        return None if self._graph is None else self._graph.expected_scale(first, second)

    def place(self, window: WindowResult) -> PlacedWindow:
        if window.map_id != self._visual_id:
            self._visual_id = self._map_id = window.map_id
            self._map_from_visual = IDENTITY
        if self._graph is None:
            return PlacedWindow(window, is_metric=False)
        if window.station is not None:
            self._graph.add(window.station, self._map_from_visual, self._map_id, None)
        reconstructions = tuple(self._moved(reconstruction) for reconstruction in window.reconstructions)
        corrections, self._corrections = self._corrections, ()
        moved = replace(window, reconstructions=reconstructions, map_id=self._map_id)
        return PlacedWindow(moved, is_metric=False, corrections=corrections, map_from_station=self._map_from_visual)

    def close(self, loop: Loop) -> Correction | RefusedLoop:
        """Between two windows. The map moves once."""
        if self._graph is None:
            return RefusedLoop(loop, "no loops are closed")
        found = self._graph.close(loop)
        if isinstance(found, RefusedLoop):
            return found
        self._corrections += (found,)
        if (latest := self._graph.latest(found, self._visual_id)) is not None:
            self._map_from_visual, self._map_id = latest
        return found

    def _moved(self, reconstruction: Reconstruction) -> Reconstruction:
        change: Sim3 = self._map_from_visual
        if change is IDENTITY:
            return reconstruction
        pose = change.apply_to_poses(torch.from_numpy(reconstruction.map_from_cam)).numpy()
        depth = np.float32(change.scale.item()) * reconstruction.depth
        return replace(reconstruction, map_id=self._map_id, depth=depth, map_from_cam=pose)
