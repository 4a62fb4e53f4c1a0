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
from .localizer import Localizer, Sighting
from .map_update import MapUpdate


class PlacedMap(ABC):
    """Places every window of the front end, in order; between two of them loops may be closed. Not thread-safe.

    With a localizer the map is a saved one that stays as it is: windows wait until the camera has been found in it.
    """

    def __init__(self, graph: SubmapGraph | None = None, localizer: Localizer | None = None) -> None:
        """``graph`` is None if no loops are closed, ``localizer`` if the map grows."""
        self.map_id = 0
        self.localizer = localizer
        self._found: Sim3 | None = None  # saved_from_visual, for the next window
        self._graph = graph
        self._visual_id: int | None = None  # of the front end's map
        self._map_from_visual: Sim3 | None = None  # None: not known

    @property
    def is_placed(self) -> bool:
        """Whether the camera's pose in the map is known, so that a loop can move it."""
        return self._map_from_visual is not None

    @property
    def is_found(self) -> bool:
        """Whether it is known where the camera is in a saved map that stays as it is."""
        return self.is_placed or self._found is not None

    @abstractmethod
    def place(self, window: WindowResult) -> MapUpdate: ...

    def restart(self) -> None:
        """No loop joins later submaps to earlier ones."""
        self._found = None
        if self._graph is not None:
            self._graph.forget()

    def load(self, submaps: Sequence[int]) -> int:
        """Begins another map beside a saved one, to which loops may join it. Returns the id of the saved map."""
        if self._graph is None:
            raise InputError("no loops are closed")
        self.restart()
        saved_id = self._graph.load(submaps)
        if self.localizer is not None:
            self.localizer.load(saved_id)
        return saved_id

    def locate(self, sighting: Sighting) -> bool:
        """Takes a recognized place of the saved map, between two windows; returns whether it is believed."""
        assert self.localizer is not None
        found = self.localizer.see(sighting, self._map_from_visual or self._found)
        if found is None:
            return False
        if self._map_from_visual is None:
            self._found = found
        else:
            self._move(found, self.map_id)
        return True

    def _take_found(self) -> Sim3 | None:
        """Where the visual map lies in the saved one, once it has been found; None: it has not."""
        assert self.localizer is not None
        found, self._found = self._found, None
        if found is not None and self.localizer.saved_id is not None:
            self.map_id = self.localizer.saved_id
        return found

    def _lose(self) -> None:
        """Another visual map begins, whose pose is not known."""
        self._map_from_visual, self._found = None, None
        if self.localizer is not None:
            self.localizer.begin()

    def expected_scale(self, first: int, second: int) -> float | None:
        """The first submap's units per unit of the second; None: unknown."""
        if self.localizer is not None:
            return self._saved_per_visual
        return None if self._graph is None else self._graph.expected_scale(first, second)

    @property
    def _saved_per_visual(self) -> float | None:
        """The saved map's units per unit of the visual one; None: unknown."""
        return None if self._map_from_visual is None else self._map_from_visual.scale.item()

    def close(self, loop: LoopClosure) -> Correction | RejectedLoop:
        """Called between two windows; the map moves at once."""
        if self._graph is None:
            return RejectedLoop(loop, "no loops are closed")
        if not self.is_placed:
            return RejectedLoop(loop, "the camera's pose in the map is not known, so it cannot be corrected")
        found = self._graph.close(loop)
        return found if isinstance(found, RejectedLoop) else self._followed(found)

    def adjust(self, least: float, most: int) -> Correction | None:
        """Between two windows: the latest keyframes are adjusted together, and the map moves at once.

        See `SubmapGraph.adjust`.
        """
        if self._graph is None or not self.is_placed:
            return None
        found = self._graph.adjust(least, most)
        return None if found is None else self._followed(found, at_once=False)

    def _followed(self, correction: Correction, at_once: bool = True) -> Correction:
        """The correction, after the camera has moved with its submap; for ``at_once`` see `_move`."""
        assert self._graph is not None
        if (latest := self._graph.latest(correction, self._visual_id)) is not None:
            self._move(*latest, at_once)
        return correction

    def _move(self, map_from_visual: Sim3, map_id: int, at_once: bool = True) -> None:
        """After the camera's submap has moved; ``at_once``: what follows in small steps otherwise moves with it."""
        self._map_from_visual, self.map_id = map_from_visual, map_id
