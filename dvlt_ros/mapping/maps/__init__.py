"""The map and its place in the world.

In: `WindowResult`s and closed loops. Out: `MapUpdate`s, in metres if there is a source of metric scale, and the voxel
cloud and path that `MapBuilder` keeps; `SavedMap` is the same on disk.
"""

from .builder import MapBuilder
from .map_part import MapSnapshot
from .map_update import MapUpdate
from .metric_map import MetricMap
from .saved_map import SavedMap, read_saved_map
from .unscaled_map import UnscaledMap

__all__ = ["MapBuilder", "MapSnapshot", "MapUpdate", "MetricMap", "SavedMap", "UnscaledMap", "read_saved_map"]
