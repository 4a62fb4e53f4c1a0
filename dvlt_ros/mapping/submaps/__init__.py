"""Windows in the map.

In: a window and its prediction. Out: its views with poses and depths in the map (`PlacedViews`), by registration to the
views that it shares with the map, or in a new map. Windows that are kept are submaps.
"""

from .placement import MapFrame, anchor_views, reconstruct, shared_points, trusted, unprojected
from .registration import Registration, SharedPoints, register_points
from .submap import StoredSubmap, StoredView, Submap, SubmapViews
from .window_placer import PlacedViews, WindowPlacer

__all__ = [
    "MapFrame",
    "PlacedViews",
    "Registration",
    "SharedPoints",
    "StoredSubmap",
    "StoredView",
    "Submap",
    "SubmapViews",
    "WindowPlacer",
    "anchor_views",
    "reconstruct",
    "register_points",
    "shared_points",
    "trusted",
    "unprojected",
]
