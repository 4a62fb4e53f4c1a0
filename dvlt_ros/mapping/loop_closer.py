"""Closes loops between windows: engine and map do the work, this counts and tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..errors import ConfigError
from ..geometry import rotation_angle
from .data.corrections import Correction
from .front_end.front_end import FrontEnd
from .inference.prediction import PlaceRecognizer, Predictor
from .loops.detector import LoopDetector, LoopDetectorConfig
from .loops.place_index import PlaceIndexConfig
from .loops.verification import LoopVerificationConfig, UnverifiedLoop
from .maps.placed_map import PlacedMap
from .pose_graph.config import LoopClosure, RejectedLoop
from .pose_graph.submap_graph import SubmapGraph


@dataclass(frozen=True, eq=False)
class LoopParts:
    """What engine and map need to close loops; None if none are closed."""

    detector: LoopDetector | None = None
    graph: SubmapGraph | None = None
    reason: str = ""  # why none are closed


def prepare_loops(
    config: LoopDetectorConfig,
    places: PlaceIndexConfig,
    loops: LoopVerificationConfig,
    predictor: Predictor,
    is_metric: bool,
) -> LoopParts:
    """``is_metric``: lengths are going to be metres.

    Raises:
        ConfigError: they must be closed and cannot be.
    """
    if config.loops == "never":
        return LoopParts(reason="loops: never")
    try:
        if not isinstance(predictor, PlaceRecognizer):
            raise ConfigError("loops need a model whose features recognise places, as dvlt's do")
        return LoopParts(LoopDetector(predictor, config, places, loops), SubmapGraph(is_metric))
    except ConfigError as error:
        if config.loops == "always":
            raise
        return LoopParts(reason=str(error))


@dataclass(frozen=True)
class LoopStatus:
    """What has come of the places so far."""

    closed: int = 0
    refused: int = 0  # joint windows that showed two places, and loops that the rest contradicts
    residual: float | None = None  # of the last loop that was closed
    refusal: str = ""  # why the last one was refused


class LoopCloser:
    """``status`` may be read from anywhere."""

    def __init__(self, engine: FrontEnd, placed: PlacedMap, notify: Callable[[str], None] = lambda _: None) -> None:
        """``notify`` gets one sentence for every loop that was closed."""
        self.status = LoopStatus()
        self._engine, self._map, self._notify = engine, placed, notify

    def work(self, waited_ms: float = 0.0) -> Correction | None:
        """Between two windows: checks at most one place. ``waited_ms``: of the oldest frame for the next window."""
        if not self._map.is_placed:  # candidates wait: those of a robot that begins in a saved map are its best ones
            return None
        loop = self._engine.check_loop(waited_ms, self._map.expected_scale)
        if loop is None:
            return None
        found = loop if isinstance(loop, UnverifiedLoop) else self._map.close(loop)
        if isinstance(found, UnverifiedLoop | RejectedLoop):
            self.status = replace(self.status, refused=self.status.refused + 1, refusal=found.reason)
            return None
        assert isinstance(loop, LoopClosure)
        assert self._engine.loops is not None
        self._engine.loops.closed(loop)
        self.status = replace(self.status, closed=self.status.closed + 1, residual=loop.residual)
        self._notify(f"a loop is closed, residual {loop.residual:.3f}: {_movement(found)}")
        return found


def _movement(correction: Correction) -> str:
    """Of the newest submap."""
    turned = torch.rad2deg(rotation_angle(correction.new_from_old.rotation[-1]))
    joined = len(set(correction.map_ids.tolist())) - 1
    said = f"the map turns by {float(turned):.1f} degrees here"
    older = "an older one" if correction.map_id >= 0 else "the saved one"
    return f"{said}, and is joined to {older}" if joined else said
