"""Into a saved map: it stands fast, its places are candidates for loops, and what comes next is another map.

Two loops that say the same join them, as they bring a kidnapped robot back; from then on the map is the saved one.
"""

from __future__ import annotations

from ..alignment import IDENTITY
from ..errors import InputError
from .front_end.front_end import FrontEnd
from .loop_closer import LoopParts
from .maps.builder import MapBuilder
from .maps.map_part import MapSnapshot
from .maps.placed_map import PlacedMap
from .maps.saved_map import SavedMap


def load_saved_map(saved: SavedMap, engine: FrontEnd, placed: PlacedMap, builder: MapBuilder) -> None:
    """Between two windows. All places of this stream are forgotten, as by a reset.

    Raises:
        InputError: no loops are closed.
    """
    if engine.loops is None:
        raise InputError("no loops are closed")
    engine.begin_anew()
    submaps = engine.loops.load(saved.stored_submaps)
    map_id = placed.load(submaps)
    snapshot = MapSnapshot(
        map_id, saved.cloud, saved.stamps_ns, saved.map_from_cam, saved.voxel_size, dict.fromkeys(submaps, IDENTITY)
    )
    builder.load(snapshot, submap_id=submaps[0])


def relocalized(loops: LoopParts, map_id: int | None, refusal: str) -> str:
    """Whether the stream is in the saved map, and why not.

    Args:
        map_id: of the latest window; None: there was none.
        refusal: why the latest loop was refused; empty: none was.
    """
    saved_id = None if loops.graph is None else loops.graph.saved_id
    if saved_id is None or loops.detector is None:
        return "no saved map"
    if map_id == saved_id:
        return "yes"
    reason = loops.detector.saved_problem or loops.detector.not_ready_reason or refusal
    return f"no: {reason or 'no place of it has been recognised yet'}"
