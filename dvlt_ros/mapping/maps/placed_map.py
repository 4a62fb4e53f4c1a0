"""Common to metric and unscaled maps: windows are placed in the map, and closed loops correct it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ...alignment import Sim3
from ...errors import InputError
from ..data.corrections import Correction
from ..front_end.window_result import WindowResult
from ..pose_graph.config import LoopClosure, RejectedLoop
from ..pose_graph.submap_graph import SubmapGraph
from .map_update import MapUpdate


class PlacedMap(ABC):
    """Places every window of the front end, in order; between two of them loops may be closed. Not thread-safe."""

    def __init__(self, graph: SubmapGraph | None = None) -> None:
        """``graph`` is None if no loops are closed."""
        self.map_id = 0
        self._graph = graph
        self._visual_id: int | None = None  # of the front end's map
        self._map_from_visual: Sim3 | None = None  # None: not known

    @property
    def is_placed(self) -> bool:
        """Whether the camera's pose in the map is known, so that a loop can move it."""
        return self._map_from_visual is not None

    @abstractmethod
    def place(self, window: WindowResult) -> MapUpdate: ...

    def restart(self) -> None:
        """No loop joins later submaps to earlier ones."""
        if self._graph is not None:
            self._graph.forget()

    def load(self, submaps: Sequence[int]) -> int:
        """Begins another map beside a saved one, to which loops may join it. Returns the id of the saved map."""
        if self._graph is None:
            raise InputError("no loops are closed")
        self.restart()
        return self._graph.load(submaps)

    def expected_scale(self, first: int, second: int) -> float | None:
        """The first submap's units per unit of the second; None: unknown."""
        return None if self._graph is None else self._graph.expected_scale(first, second)

    def close(self, loop: LoopClosure) -> Correction | RejectedLoop:
        """Called between two windows; the map moves at once."""
        if self._graph is None:
            return RejectedLoop(loop, "no loops are closed")
        if not self.is_placed:
            return RejectedLoop(loop, "the camera's pose in the map is not known, so it cannot be corrected")
        found = self._graph.close(loop)
        if isinstance(found, RejectedLoop):
            return found
        if (latest := self._graph.latest(found, self._visual_id)) is not None:
            self._move(*latest)
        return found

    def _move(self, map_from_visual: Sim3, map_id: int) -> None:
        """After a loop closure has moved the camera's submap."""
        self._map_from_visual, self.map_id = map_from_visual, map_id
