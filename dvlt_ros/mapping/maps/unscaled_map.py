"""Maps without a source of metric scale: each has an arbitrary unit; closed loops correct them."""

from __future__ import annotations

from dataclasses import replace

from ...alignment import IDENTITY, Sim3
from ..data.frames import Reconstruction
from ..front_end.window_result import WindowResult
from .map_update import MapUpdate
from .placed_map import PlacedMap


class UnscaledMap(PlacedMap):
    """The map is the visual one, corrected by closed loops."""

    def place(self, window: WindowResult) -> MapUpdate:
        if self._map_from_visual is None or window.map_id != self._visual_id:
            self._visual_id = self.map_id = window.map_id
            self._map_from_visual = IDENTITY
        if self._graph is None:
            return MapUpdate(window, window, is_metric=False, is_placed=True)
        if window.submap is not None:
            self._graph.add(window.submap, self._map_from_visual, self.map_id, None)
        reconstructions = tuple(self._moved(frame, self._map_from_visual) for frame in window.reconstructions)
        moved = replace(window, reconstructions=reconstructions, map_id=self.map_id)
        return MapUpdate(moved, window, is_metric=False, is_placed=True, map_from_submap=self._map_from_visual)

    def _moved(self, frame: Reconstruction, map_from_visual: Sim3) -> Reconstruction:
        if map_from_visual is IDENTITY:  # no loop has moved it
            return frame
        depth, pose = map_from_visual.apply_to_depth(frame.depth), map_from_visual.apply_to_poses(frame.map_from_cam)
        return replace(frame, map_id=self.map_id, depth=depth, map_from_cam=pose)
