"""Mesh and occupancy grid of the growing map, a client of `MapUpdate`.

A new frame costs a copy of its thinned depth. The volume is made when mesh or grid are asked for, and follows from then
on. Where a loop closure has moved keyframes by half a voxel on average, or one of them by two, another volume is made
from all of them, a few at a time; until it is complete the one before it is shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..data.region import Region
from ..maps.map_update import MapUpdate
from ..maps.saved_scene import sights
from ..submaps.config import ConfidenceConfig
from ..submaps.submap import StoredSubmap
from .config import SurfacesConfig
from .grid import Band, Grid
from .keyframes import Keyframe, KeyframeStore, have_moved
from .mesh import Mesh
from .surfaces import Surfaces

METRIC_VOXEL = 0.05
UNSCALED_VOXEL = 0.02  # of the first median depth
FUSED_AT_ONCE = 25  # keyframes in one turn


@dataclass(frozen=True, eq=False)
class MeshChange:
    """A mesh by blocks, and which of them are news."""

    state: object  # stands for the volume that it comes from
    of_block: dict[int, Mesh]
    changed: np.ndarray | None  # (N,) keys of blocks that are new, other ones or gone; None: all of them


class SurfaceMap:
    """`integrate` comes from one thread; everything else is thread-safe, and may take long without holding it up."""

    def __init__(
        self, config: SurfacesConfig, is_metric: bool, no_level: Callable[[], str] = lambda: "", is_frozen: bool = False
    ) -> None:
        """
        Args:
            no_level: says why the map's z axis is not known to point up; empty: it is.
            is_frozen: the map is a saved one that stays as it is: see `load`; nothing is added.
        """
        self._is_frozen = is_frozen
        self._config, self._is_metric, self._no_level = config, is_metric, no_level
        self._keyframes_lock = threading.Lock()  # of the keyframes and the current map's id; held for a moment only
        self._keyframes = KeyframeStore(config.max_keyframes)
        self._map_id: int | None = None
        self._volume_lock = threading.Lock()
        self._shown: Surfaces | None = None
        self._next: Surfaces | None = None  # takes the place of the one shown as soon as it is complete

    def integrate(self, update: MapUpdate) -> None:
        """In the order of `MapUpdate`."""
        if self._is_frozen:
            return
        with self._keyframes_lock:
            for correction in update.corrections:
                self._keyframes.correct(correction)
                if self._map_id in correction.map_ids:
                    self._map_id = correction.map_id
            if update.window is None:
                return
            if update.map_from_visual is not None and update.visual_id is not None:
                self._keyframes.place_waiting(update.map_from_visual, update.visual_id, update.window.map_id)
            for frame in update.frames:
                self._keyframes.add(frame.for_map, update.window.submap_id, update.is_placed)
            if update.is_placed:
                self._map_id = update.window.map_id

    def load(self, stored: Sequence[StoredSubmap], map_id: int, confidence: ConfidenceConfig) -> None:
        """The saved map that stays as it is, by the depth that is stored of its places."""
        keyframes = [Keyframe.of_saved(*seen, map_id) for seen in sights(stored, confidence)]
        with self._volume_lock, self._keyframes_lock:
            self._keyframes.load(keyframes)
            self._map_id, self._shown, self._next = map_id, None, None

    def cut(self, region: Region) -> None:
        """Forgets what was seen in a region of the current map; its surfaces are made anew."""
        with self._volume_lock, self._keyframes_lock:
            if self._map_id is not None:
                self._keyframes.cut(self._map_id, region)
            self._shown, self._next = None, None

    def follow(self, at_most: int = FUSED_AT_ONCE) -> bool:
        """Fuses keyframes of the current map that are not in the volume yet; returns whether none are left."""
        with self._volume_lock:
            return self._follow(at_most)

    def meshes(self, known_to: object = None) -> MeshChange | None:
        """The current map's mesh as it was at the last `follow`; None: there is none yet.

        ``known_to``: the last `MeshChange.state` that the caller has seen.
        """
        with self._volume_lock:
            if self._shown is None:
                return None
            meshes, around = self._shown.meshes()
            return MeshChange(self._shown, meshes.of_block.copy(), None if known_to is not self._shown else around)

    def grid(self, band: Band) -> Grid:
        """The current map's grid as it was at the last `follow`.

        Raises:
            InputError: there is none: the map has no metres or is not level, or no floor has been seen.
        """
        self.check_grid()
        with self._volume_lock:
            grid = None if self._shown is None else self._shown.grid(band)
        if grid is None:
            raise InputError("no floor has been seen below the cameras")
        return grid

    def check_grid(self) -> None:
        """Raises InputError: there can be no grid, because the map has no metres or is not level."""
        if not self._is_metric:
            raise InputError("heights are not known in metres")
        if problem := self._no_level():
            raise InputError(problem)

    def of_map(self, map_id: int) -> Surfaces | None:
        """Surfaces of one map alone, made anew from its keyframes; None: it has none. Takes a while."""
        with self._keyframes_lock:
            keyframes = self._keyframes.of_map(map_id)
            views = [keyframe.view for keyframe in keyframes]
        if not views:
            return None
        surfaces = self._empty(map_id, keyframes[0])
        for view in views:
            surfaces.fuse(view)
        return surfaces

    @property
    def num_keyframes(self) -> int:
        """Of all maps."""
        return len(self._keyframes)

    @property
    def num_bytes(self) -> int:
        """Of keyframes and volume."""
        with self._keyframes_lock:
            kept = self._keyframes.num_bytes
        return kept + sum(surfaces.num_bytes for surfaces in (self._shown, self._next) if surfaces is not None)

    def _follow(self, at_most: int) -> bool:
        with self._keyframes_lock:
            if self._map_id is None or not (keyframes := self._keyframes.of_map(self._map_id)):
                return True
            target = self._target(self._map_id, keyframes)
            missing = [keyframe for keyframe in keyframes if keyframe.fused_in is not target]
            views = [keyframe.fused(target) for keyframe in missing[:at_most]]
        for view in views:
            target.fuse(view)
        if len(missing) > at_most:
            return False
        self._shown, self._next = target, None
        return True

    def _target(self, map_id: int, keyframes: list[Keyframe]) -> Surfaces:
        """What keyframes are fused in: surfaces that are being made, those shown, or new ones where these are wrong."""
        for surfaces in (self._next, self._shown):
            if surfaces is None or surfaces.map_id != map_id:
                continue
            if surfaces is self._next:
                return surfaces
            fused = [keyframe for keyframe in keyframes if keyframe.fused_in is surfaces]
            if not have_moved(fused, surfaces.volume.voxel_size):
                return surfaces
        self._next = self._empty(map_id, keyframes[0])
        return self._next

    def _empty(self, map_id: int, first: Keyframe) -> Surfaces:
        automatic = METRIC_VOXEL if self._is_metric else UNSCALED_VOXEL * first.scale * first.median_depth
        return Surfaces(map_id, self._config.voxel_size or automatic, self._config.max_blocks)
