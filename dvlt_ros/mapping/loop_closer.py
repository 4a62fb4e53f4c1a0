"""Closes loops between windows: front end and map do the work, this module counts and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..errors import ConfigError, InputError
from ..geometry import rotation_angle
from ..health import Health
from .data.corrections import Correction
from .front_end.front_end import FrontEnd
from .inference.prediction import PlaceRecognizer, Predictor
from .loops.config import LoopsConfig
from .loops.detector import LoopDetector
from .loops.verification import UnverifiedLoop
from .maps.map_update import MapUpdate
from .maps.placed_map import PlacedMap
from .pose_graph.config import LoopClosure, RejectedLoop
from .pose_graph.submap_graph import SubmapGraph
from .submaps.submap import StoredSubmap


@dataclass(frozen=True, eq=False)
class LoopParts:
    """What front end and map need to close loops; detector and graph are None if no loops are closed."""

    detector: LoopDetector | None = None
    graph: SubmapGraph | None = None
    reason: str = ""  # why no loops are closed
    checkpoint: str = ""  # digest of the network that computes the place descriptors

    def required(self) -> LoopDetector:
        """The detector. Raises InputError: no loops are closed."""
        if self.detector is None:
            raise InputError(f"no loops are closed: {self.reason}")
        return self.detector

    def stored_submaps(self) -> dict[int, StoredSubmap]:
        """All that can be recognized, by number. Thread-safe."""
        return {} if self.detector is None else self.detector.stored_submaps()


def prepare_loops(config: LoopsConfig, predictor: Predictor, is_metric: bool) -> LoopParts:
    """``is_metric``: the map will be in metres.

    Raises:
        ConfigError: loops.mode is always, and loops cannot be closed.
    """
    if config.detector.mode == "never":
        return LoopParts(reason="loops.mode: never")
    try:
        if not isinstance(predictor, PlaceRecognizer):
            raise ConfigError("loops need a model whose features recognize places, as those of dvlt do")
        return LoopParts(LoopDetector(predictor, config), SubmapGraph(is_metric), checkpoint=predictor.checkpoint)
    except ConfigError as error:
        if config.detector.mode == "always":
            raise
        return LoopParts(reason=str(error))


@dataclass(frozen=True)
class LoopStatus:
    """Results of loop closure so far."""

    closed: int = 0
    refused: int = 0  # joint windows that show two places, and loops that contradict the rest of the graph
    residual: float | None = None  # of the last loop that was closed
    refusal: str = ""  # why the last one was refused


class LoopCloser:
    """Any thread may read ``status``."""

    def __init__(
        self,
        front_end: FrontEnd,
        placed: PlacedMap,
        parts: LoopParts,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``notify`` gets one sentence for every loop that was closed."""
        self.status = LoopStatus()
        self._front_end = front_end
        self._map = placed
        self._parts = parts
        self._notify = notify

    def work(self, waited_ms: float = 0.0) -> Correction | None:
        """Checks at most one candidate, between two windows. ``waited_ms``: of the oldest frame for the next window."""
        if not self._map.is_placed:  # keep the candidates: the first ones in a saved map are often the best
            return None
        loop = self._front_end.check_loop(waited_ms, self._map.expected_scale)
        if loop is None:
            return None
        found = loop if isinstance(loop, UnverifiedLoop) else self._map.close(loop)
        if isinstance(found, UnverifiedLoop | RejectedLoop):
            self.status = replace(self.status, refused=self.status.refused + 1, refusal=found.reason)
            return None
        assert isinstance(loop, LoopClosure)
        assert self._parts.detector is not None
        self._parts.detector.closed(loop)
        self.status = replace(self.status, closed=self.status.closed + 1, residual=loop.residual)
        self._notify(f"a loop is closed, residual {loop.residual:.3f}: {_movement(found)}")
        return found

    def health(self) -> Health:
        """Not being relocalized in a saved map is no fault; it is reported among the values."""
        return Health.ok("on" if self._parts.detector is not None else f"off: {self._parts.reason}")

    def values(self, latest: MapUpdate | None) -> dict[str, str]:
        """Values of the status; ``latest``: the update of the latest window."""
        detector = self._parts.detector
        values = {"loops": self.health().text}
        if detector is None:
            return values
        residual = self.status.residual
        return values | {
            "places": str(len(detector)),
            "loops_closed": str(self.status.closed),
            "loops_refused": str(self.status.refused),
            "loop_residual": "unknown" if residual is None else f"{residual:.4f}",
            "loop_refusal": self.status.refusal or "none",
            "relocalized": self._relocalized(None if latest is None else latest.map_id),
        }

    def _relocalized(self, map_id: int | None) -> str:
        """Whether the camera is relocalized in the saved map, else why not; ``map_id``: of the latest window."""
        detector, graph = self._parts.detector, self._parts.graph
        if detector is None or graph is None or graph.saved_id is None:
            return "no saved map"
        if map_id == graph.saved_id:
            return "yes"
        reason = detector.saved_problem or detector.not_ready_reason or self.status.refusal
        return f"no: {reason or 'no place of it has been recognized yet'}"


def _movement(correction: Correction) -> str:
    """A sentence about the correction of the newest submap."""
    turned = torch.rad2deg(rotation_angle(correction.new_from_old.rotation[-1]))
    joined = len(set(correction.map_ids.tolist())) - 1
    turn = f"the map turns by {float(turned):.1f} degrees here"
    older = "an older one" if correction.map_id >= 0 else "the saved one"
    return f"{turn}, and is joined to {older}" if joined else turn
