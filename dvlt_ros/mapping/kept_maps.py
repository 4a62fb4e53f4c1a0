"""The maps that a mapper keeps: the current one, ended ones, those on disk, and a saved one that is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from ..alignment import IDENTITY
from ..errors import InputError
from ..export.scenes import SceneFormat
from .config import MapperConfig
from .data.region import Region
from .front_end.front_end import FrontEnd
from .loop_closer import LoopParts
from .loops.hint import PoseHint
from .map_files import SurfaceFiles, open_map, save_maps
from .maps.builder import MapBuilder
from .maps.map_part import MapSnapshot
from .maps.placed_map import PlacedMap
from .maps.saved_map import SavedMap
from .maps.saved_scene import SceneExport
from .sensors.suite import Sensors
from .submaps.config import ConfidenceConfig
from .surfaces.surface_map import SurfaceMap


class KeptMaps(ABC):
    """The part of `Mapper` that knows maps and no frames."""

    loops: LoopParts
    sensors: Sensors
    surfaces: SurfaceMap
    _builder: MapBuilder
    _front_end: FrontEnd
    _map: PlacedMap

    def __init__(self, config: MapperConfig, notify: Callable[[str], None]) -> None:
        """``notify`` gets one sentence for everything that went wrong and was survived."""
        self.config, self._notify = config, notify
        self._files: dict[bytes, Path] = {}  # maps that are on disk, by content
        self._frozen: SavedMap | None = None  # the saved map that stays as it is

    @abstractmethod
    def _drop_opened(self) -> None:
        """Frame sets that no window has taken yet: accepted, and dropped."""

    @abstractmethod
    def _refresh(self) -> None:
        """The status follows."""

    @property
    def _confidence(self) -> ConfidenceConfig:
        return self.config.confidence.for_checkpoint(self._front_end.predictor.cut_share)

    def snapshot(self) -> MapSnapshot:
        """The current map: cloud and path. Thread-safe."""
        return self._builder.snapshot()

    def snapshots(self) -> list[MapSnapshot]:
        """All maps at the same time: ended ones, oldest first, then the current one. Thread-safe."""
        return self._builder.snapshots()

    def reset(self) -> None:
        """The next frame begins another map, which no loop joins to earlier ones; or is sought in the saved one."""
        if self._frozen is not None:
            self.load(self._frozen)
            return
        self._drop_opened()
        self._front_end.begin_anew()
        self._map.restart()
        self._refresh()

    def save(self, folder: Path, scene_formats: Sequence[SceneFormat] = ()) -> Path:
        """Saves the current map, and ended ones that no loop has joined to it; returns the PLY of the newest.

        Thread-safe: all maps are those of the same time. ``scene_formats``: scenes that are left beside each map.

        Raises:
            InputError: nothing to save, or a file cannot be written; no file is left incomplete.
        """
        stored, network = self.loops.stored_submaps(), self.loops.checkpoint
        export = SceneExport(tuple(scene_formats), self._confidence) if scene_formats else None
        surfaces, metric = SurfaceFiles(self.surfaces, self.config.band), self.sensors.tell_metres
        return save_maps(self.snapshots(), stored, folder, network, metric, self._files, export, surfaces)

    def open(self, folder: Path, name: str = "") -> tuple[Path, SavedMap]:
        """A saved map that `load` takes: by its name in the folder, or the newest one. Thread-safe.

        Raises:
            InputError: no such map, or one of another checkpoint or unit; no loops are closed.
        """
        self.loops.required()
        return open_map(folder, name, self.loops.checkpoint, self.sensors.tell_metres, self._notify)

    def load(self, saved: SavedMap) -> None:
        """The saved map is fixed, and its submaps are candidates for loop closures.

        Mapping: the next frame begins another map. Two loop closures that agree join it to the saved one, as after a
        kidnapping; from then on the saved map is the current one, and grows. Localization: see `Localizer`.

        Raises:
            InputError: no loops are closed; nothing has changed.
        """
        detector = self.loops.required()
        if not saved.stored_submaps:  # before anything changes
            raise InputError("the saved map has no places")
        self._drop_opened()
        self._front_end.begin_anew()
        is_frozen = self._map.localizer is not None
        self._frozen = saved if is_frozen else None
        submaps = detector.load(saved.stored_submaps, is_frozen)
        map_id = self._map.load(submaps)
        poses = dict.fromkeys(submaps, IDENTITY)
        snapshot = MapSnapshot(map_id, saved.cloud, saved.stamps_ns, saved.map_from_cam, saved.voxel_size, poses)
        self._builder.load(snapshot, submap_id=submaps[0])
        if is_frozen:
            self.surfaces.load(saved.stored_submaps, map_id, self._confidence)
        self._refresh()

    def hint(self, hint: PoseHint) -> None:
        """About where the camera is in the saved map: places there are checked first, and one is enough.

        Raises:
            InputError: no saved map is loaded, or no loops are closed.
        """
        detector = self.loops.required()
        if self.loops.graph is None or self.loops.graph.saved_id is None:
            raise InputError("no saved map is loaded in which the pose could be")
        detector.expect(hint)

    def delete_region(self, region: Region) -> str:
        """Deletes a part of the current map: its points, its surfaces, and the places that were seen from there.

        What is seen there from then on is mapped anew. Called between two windows; returns what was deleted.

        Raises:
            InputError: nothing lies there, or no place of a map that stays as it is would be left; nothing has changed.
        """
        before, stored = self.snapshot(), self.loops.stored_submaps()
        positions = {
            number: placed.apply(stored[number].views[-1].anchor.map_from_cam[None, :3, 3])
            for number, placed in before.map_from_visual.items()
            if number in stored
        }
        places = frozenset(number for number, position in positions.items() if region.contains(position)[0])
        if not (places or region.contains(before.cloud.points).any()):
            raise InputError(f"map {before.map_id} has nothing in {region}")
        if self._frozen is not None and len(places) == len(positions):
            raise InputError(f"all {len(places)} places of the map lie in {region}; the camera could not be found")
        if self.loops.detector is not None:
            self.loops.detector.remove(places)
        count = self._builder.cut(region, places)
        self.surfaces.cut(region)
        if self._frozen is not None:
            left = self.loops.stored_submaps(), self._frozen.checkpoint, self._frozen.is_metric
            self._frozen = SavedMap.of(self.snapshot(), *left)
        self._refresh()
        return f"deleted {count} points and {len(places)} places"
