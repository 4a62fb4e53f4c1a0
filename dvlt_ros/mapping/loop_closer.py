"""Closes loops between windows: front end and map do the work, this module counts and reports."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import ConfigError, InputError
from ..geometry import rotation_angle
from ..health import Health
from .data.corrections import Correction
from .front_end.front_end import FrontEnd
from .inference.prediction import PlaceRecognizer, Predictor
from .loops.config import LoopsConfig
from .loops.detector import LoopDetector
from .loops.hint import LookUp
from .loops.verification import UnverifiedLoop
from .maps.localizer import Localizer, Sighting
from .maps.map_update import MapUpdate
from .maps.placed_map import PlacedMap
from .pose_graph.config import LoopClosure, RejectedLoop
from .pose_graph.keyframes import MAX_KEYFRAMES
from .pose_graph.submap_graph import SubmapGraph
from .submaps.submap import StoredSubmap

LEAST_MOVE = 0.01  # of the depth, that the whole map is moved for between two windows
ADJUST_EVERY = 5  # keyframes, at least, from one adjustment to the next
FEWEST = 3  # keyframes that are worth it
SOLVING = 100  # pairs of keyframes that take as long as the pose graph's solution
USUAL_MS_PER_PAIR = 0.5  # of keyframes, before it is measured
RELENTING = 0.97  # of that time, whenever it leaves too little for the fewest: it may have become less


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


def prepare_loops(
    config: LoopsConfig, predictor: Predictor, is_metric: bool, look_up: LookUp | None = None, is_needed: bool = False
) -> LoopParts:
    """
    Args:
        is_metric: the map will be in metres.
        look_up: the robot's odometry; None: there is none.
        is_needed: as for localization.

    Raises:
        ConfigError: loops.mode is always or they are needed, and loops cannot be closed.
    """
    if config.detector.mode == "never":
        if is_needed:
            raise ConfigError("map.mode localization needs loop closure, and loops.mode is never")
        return LoopParts(reason="loops.mode: never")
    try:
        if not isinstance(predictor, PlaceRecognizer):
            raise ConfigError("loops need a model whose features recognize places, as those of dvlt do")
        detector = LoopDetector(predictor, config, look_up)
        return LoopParts(detector, SubmapGraph(is_metric), checkpoint=predictor.checkpoint)
    except ConfigError as error:
        if is_needed or config.detector.mode == "always":
            raise
        return LoopParts(reason=str(error))


@dataclass(frozen=True)
class LoopStatus:
    """Results of loop closure so far."""

    closed: int = 0
    refused: int = 0  # joint windows that show two places, and loops that contradict the rest of the graph
    residual: float | None = None  # of the last loop that was closed
    refusal: str = ""  # why the last one was refused
    adjusted: int = 0  # times that keyframes were adjusted together


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
        self._ms_per_pair = USUAL_MS_PER_PAIR
        self._is_guess = False  # it is less than was measured

    def work(self, waited_ms: float = 0.0) -> Correction | None:
        """Checks at most one candidate, between two windows. ``waited_ms``: of the oldest frame for the next window."""
        if (localizer := self._map.localizer) is not None:
            self._locate(localizer, waited_ms)
            return None
        detector = self._parts.detector
        if detector is None or not self._map.is_placed:  # keep the candidates: the first in a saved map are often best
            return None
        loop = self._front_end.check_loop(waited_ms, self._map.expected_scale)
        if loop is None:
            return self.adjust(LEAST_MOVE, self._front_end.budget.time_apart_ms(waited_ms)) if self._is_due else None
        if isinstance(loop, LoopClosure):
            loop = replace(loop, is_expected=is_expected(loop, detector))
        found = loop if isinstance(loop, UnverifiedLoop) else self._map.close(loop)
        if isinstance(found, UnverifiedLoop | RejectedLoop):
            self.status = replace(self.status, refused=self.status.refused + 1, refusal=found.reason)
            return None
        assert isinstance(loop, LoopClosure)
        detector.closed(loop)
        self.status = replace(self.status, closed=self.status.closed + 1, residual=loop.residual)
        self._notify(f"a loop is closed, residual {loop.residual:.3f}: {_movement(found)}")
        return found

    @property
    def _is_due(self) -> bool:
        graph = self._parts.graph
        return graph is not None and graph.num_unadjusted >= ADJUST_EVERY

    def adjust(self, least: float = 0.0, limit_ms: float = math.inf) -> Correction | None:
        """Adjusts as many of the latest keyframes together as are likely to take so many milliseconds at most.

        None: too few have time, or nothing has moved by ``least`` of its depth; the next correction has it, too.
        """
        graph = self._parts.graph
        if graph is None or not self._map.is_placed:
            return None
        pairs = min(limit_ms / self._ms_per_pair, MAX_KEYFRAMES**2 + SOLVING) - SOLVING
        if pairs < FEWEST**2:
            if limit_ms > 0:
                self._ms_per_pair, self._is_guess = RELENTING * self._ms_per_pair, True
            return None
        start_s = time.perf_counter()
        found = self._map.adjust(least, FEWEST if self._is_guess and limit_ms < math.inf else math.isqrt(int(pairs)))
        for rejected in graph.dropped:
            self.status = replace(self.status, refused=self.status.refused + 1, refusal=rejected.reason)
        if graph.num_adjusted:
            spent_ms = 1e3 * (time.perf_counter() - start_s) / (graph.num_adjusted**2 + SOLVING)
            self._ms_per_pair = max(spent_ms, math.sqrt(self._ms_per_pair * spent_ms))  # one fast run is not the rule
            self._is_guess = False
        if found is not None:
            self.status = replace(self.status, adjusted=self.status.adjusted + 1)
        return found

    def _locate(self, localizer: Localizer, waited_ms: float) -> None:
        """Checks at most one place of a saved map that stays as it is."""
        detector = self._parts.detector
        if detector is None:
            return
        detector.is_found = self._map.is_found
        loop = self._front_end.check_loop(waited_ms, self._map.expected_scale)
        if loop is None:
            return
        if isinstance(loop, UnverifiedLoop):
            self.status = replace(self.status, refused=self.status.refused + 1, refusal=loop.reason)
            return
        was_found, sighting = self._map.is_found, sighting_of(loop, detector)
        if not self._map.locate(sighting):
            refusal = "one place alone tells nothing yet; it waits for a second one that agrees"
            self.status = replace(self.status, refusal=refusal)
            return
        detector.recognized()
        self.status = replace(self.status, closed=localizer.num_sightings, residual=loop.residual)
        if not was_found:
            how = "one place, as the pose hint has it" if sighting.is_expected else "two places"
            self._notify(f"found in the saved map by {how}; residual {loop.residual:.3f}")

    def localization(self, latest: MapUpdate | None) -> tuple[Health, str] | None:
        """Whether the camera is found in the saved map, and when a place was last recognized; None: the map grows."""
        localizer = self._map.localizer
        if localizer is None:
            return None
        if self._map.is_placed:
            seen = localizer.latest
            if seen is None or latest is None or not latest.frames:
                return Health.ok("found, by odometry since another visual map has begun"), "unknown"
            return Health.ok("found"), f"{max(0, latest.frames[-1].stamp_ns - seen.stamp_ns) * 1e-9:.1f}"
        return Health.warn(f"lost: poses are withheld: {self._why_lost(localizer)}"), "unknown"

    def _why_lost(self, localizer: Localizer) -> str:
        if localizer.saved_id is None:
            return "no saved map is loaded"
        detector = self._parts.detector
        problem = "" if detector is None else detector.saved_problem or detector.not_ready_reason
        return problem or self.status.refusal or "no place of the saved map has been recognized yet"

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
            "keyframe_adjustments": str(self.status.adjusted),
            "keyframe_problem": ("" if self._parts.graph is None else self._parts.graph.keyframe_problem) or "none",
            "relocalized": self._relocalized(None if latest is None else latest.map_id),
        }

    def _relocalized(self, map_id: int | None) -> str:
        """Whether the camera is relocalized in the saved map, else why not; ``map_id``: of the latest window."""
        detector, graph = self._parts.detector, self._parts.graph
        if detector is None or graph is None or graph.saved_id is None:
            return "no saved map"
        if self._map.localizer is not None:
            return "yes" if self._map.is_placed else f"no: {self._why_lost(self._map.localizer)}"
        if map_id == graph.saved_id:
            return "yes"
        reason = detector.saved_problem or detector.not_ready_reason or self.status.refusal
        return f"no: {reason or 'no place of it has been recognized yet'}"


def sighting_of(loop: LoopClosure, detector: LoopDetector) -> Sighting:
    """A verified loop to a saved place, as the localizer takes it."""
    anchor = detector.reference(loop.second)
    depth = float(np.median(anchor.depth[np.isfinite(anchor.depth) & (anchor.depth > 0)]))
    stamp_ns = anchor.view.frame.stamp_ns
    return Sighting(loop, anchor.map_from_cam, depth, stamp_ns, is_expected(loop, detector))


def is_expected(loop: LoopClosure, detector: LoopDetector) -> bool:
    """Whether a loop puts the camera where a pose hint has it in the saved map."""
    saved_from_cam = loop.first_from_second.apply_to_poses(detector.reference(loop.second).map_from_cam)
    return detector.is_expected(loop.first, loop.second, saved_from_cam)


def _movement(correction: Correction) -> str:
    """A sentence about the correction of the newest submap."""
    turned = torch.rad2deg(rotation_angle(correction.new_from_old.rotation[-1]))
    joined = len(set(correction.map_ids.tolist())) - 1
    turn = f"the map turns by {float(turned):.1f} degrees here"
    older = "an older one" if correction.map_id >= 0 else "the saved one"
    return f"{turn}, and is joined to {older}" if joined else turn
