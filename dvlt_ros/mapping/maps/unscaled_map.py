"""Maps without a source of metric scale: each has an arbitrary unit; closed loops correct them."""

from __future__ import annotations

from dataclasses import replace

from ...alignment import IDENTITY, Sim3
from ..data.frames import Reconstruction
from ..front_end.window_result import WindowResult
from .map_update import MapUpdate
from .placed_map import PlacedMap


class UnscaledMap(PlacedMap):
    """The map is the visual one, corrected by closed loops; or a saved one, see `Localizer`."""

    def restart(self) -> None:
        """Another map begins; no loop joins it to earlier ones."""
        super().restart()
        if self.localizer is not None:
            self._visual_id = None
            self._lose()

    def place(self, window: WindowResult) -> MapUpdate:
        if self.localizer is not None:
            return self._located(window)
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

    def _located(self, window: WindowResult) -> MapUpdate:
        """In the saved map, as soon as the camera has been found in it."""
        if window.map_id != self._visual_id:
            self._visual_id = window.map_id
            self._lose()
        is_new = self._map_from_visual is None
        if is_new:
            self._map_from_visual = self._take_found()
        if self._map_from_visual is None:
            return MapUpdate(window, window, is_metric=False, is_placed=False, is_lost=True)
        placed = tuple(self._moved(frame, self._map_from_visual) for frame in window.reconstructions)
        return MapUpdate(
            replace(window, reconstructions=placed, map_id=self.map_id), window, is_metric=False, is_placed=True,
            map_from_visual=self._map_from_visual if is_new else None,
            map_from_submap=None if window.submap is None else self._map_from_visual,
        )  # fmt: skip

    def _moved(self, frame: Reconstruction, map_from_visual: Sim3) -> Reconstruction:
        if map_from_visual is IDENTITY:  # no loop has moved it
            return frame
        depth, pose = map_from_visual.apply_to_depth(frame.depth), map_from_visual.apply_to_poses(frame.map_from_cam)
        return replace(frame, map_id=self.map_id, depth=depth, map_from_cam=pose)
