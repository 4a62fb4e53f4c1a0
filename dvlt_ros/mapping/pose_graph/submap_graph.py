"""The submaps of all maps as a pose graph: what a loop says, and how far everything moves for it.

The graph's frame is the map's as it leaves: metres where they are known, and REP-105's map. Until a loop is closed
nobody hears of it. Submaps that the graph has merged are still known beside one that stayed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...alignment import IDENTITY, Sim3
from ...errors import AlignmentError
from ..data.corrections import Correction, stacked
from ..scale.estimator import rescale_about
from ..sensors.odometry import CameraInOdom, inverse
from ..submaps.submap import Submap
from .config import LoopClosure, PoseGraphConfig, RejectedLoop
from .graph import PoseGraph

CONFIG = PoseGraphConfig(max_submaps=250, max_loops=60)  # more are slower: windows wait while it is solved
WAITING = 100  # submaps that may wait for their place


@dataclass(frozen=True, eq=False)
class _Known:
    """A submap in the graph as it was published."""

    map_id: int
    visual_id: int
    map_from_visual: Sim3
    unit: float | None


class MapGraph:
    """Takes submaps in their order. Not thread-safe."""

    def __init__(self, is_metric: bool, config: PoseGraphConfig = CONFIG) -> None:
        """``is_metric``: all maps have one unit. Raises ConfigError: GTSAM is not installed."""
        self._is_metric, self._config = is_metric, config
        self._num_saved = 0
        self.forget()

    def __len__(self) -> int:
        return len(self._graph)

    def forget(self) -> None:
        """Everything: a map begins that nobody wants to be joined to those before."""
        self._graph = PoseGraph(self._config)
        self._known: dict[int, _Known] = {}
        self._beside: dict[int, tuple[int, Sim3]] = {}  # merged submaps, by one that stayed
        self._unwanted: set[int] = set()  # submaps of the graph that will not be recognised any more
        self._waiting: deque[tuple[Submap, CameraInOdom | None]] = deque(maxlen=WAITING)
        self._latest: int | None = None
        self._latest_odom: tuple[int, CameraInOdom] | None = None
        self.saved_id: int | None = None  # of the saved map; None: there is none

    def load(self, submaps: Sequence[int]) -> int:
        """Everything is forgotten but a saved map, whose submaps see it in its own frame: it stands fast.

        Returns its number, below zero: those of the engine count up from it.
        """
        self.forget()
        self._num_saved += 1
        self.saved_id, first = -self._num_saved, submaps[0]
        self._graph.begin(first, IDENTITY, np.eye(4), depth=1.0, stands_fast=True)
        self._known[first] = _Known(self.saved_id, self.saved_id, IDENTITY, None)
        self._beside = dict.fromkeys(submaps[1:], (first, IDENTITY))
        return self.saved_id

    def hold(self, submap: Submap, camera: CameraInOdom | None) -> None:
        """A submap whose place nobody knows yet."""
        self._waiting.append((submap, camera))
        self._forget(submap.forgotten)

    def place_waiting(self, map_from_visual: Sim3, map_id: int, visual_id: int, unit: float | None) -> None:
        """Those of one visual map have become known; others never will."""
        for submap, camera in self._waiting:
            if submap.map_id == visual_id:
                self.add(submap, map_from_visual, map_id, camera, unit)
        self._waiting.clear()

    def add(
        self,
        submap: Submap,
        map_from_visual: Sim3,
        map_id: int,
        camera: CameraInOdom | None,
        unit: float | None = None,
    ) -> None:
        """A submap as it is published.

        Args:
            camera: where the wheels have its reference view; None: they do not say.
            unit: metres per unit of the visual map, if that is measured and no wheels tell it.
        """
        before = None if self._latest is None else self._known.get(self._latest)
        is_next = submap.num_registrations > 0 and self._latest == submap.number - 1
        where = submap.map_from_cam, submap.depth
        if before is not None and is_next and (before.map_id, before.visual_id) == (map_id, submap.map_id):
            latest_from_this = _rescaled(submap, before.unit, unit)
            self._graph.add_submap(submap.number, latest_from_this, *where, submap.num_registrations)
        else:
            self._graph.begin(submap.number, map_from_visual, *where)
        self._known[submap.number] = _Known(map_id, submap.map_id, map_from_visual, unit)
        self._latest = submap.number
        self._add_odometry(submap.number, map_id, camera)
        self._forget(submap.forgotten)
        self._shrink()

    def expected_scale(self, first: int, second: int) -> float | None:
        """The first submap's units per unit of the second, as far as anybody knows."""
        one_end, other_end = self._resolve(first), self._resolve(second)
        if one_end is None or other_end is None:
            return None
        (one, one_from_first), (other, other_from_second) = one_end, other_end
        if not self._is_metric and self._known[one].map_id != self._known[other].map_id:
            return None
        units = self._graph.map_from_submap(one).scale, self._graph.map_from_submap(other).scale
        return float(units[1] * other_from_second.scale / (units[0] * one_from_first.scale))

    def close(self, loop: LoopClosure) -> Correction | RejectedLoop:
        """How everything moves, or why the loop is not believed."""
        one_end, other_end = self._resolve(loop.first), self._resolve(loop.second)
        if one_end is None or other_end is None:
            return RejectedLoop(loop, "the graph does not know its ends any more")
        (first, one_from_first), (second, other_from_second) = one_end, other_end
        if first >= second:
            return RejectedLoop(loop, "its ends have been merged into one")
        between = one_from_first.compose(loop.first_from_second).compose(other_from_second.inverse)
        self._graph.add_loop(replace(loop, first=first, second=second, first_from_second=between))
        try:
            solution = self._graph.optimize()
        except AlignmentError as error:
            return RejectedLoop(loop, str(error))
        if not solution.accepted:
            return replace(solution.refused[-1], loop=loop)
        return self._correction(first)

    def latest(self, correction: Correction, visual_id: int | None) -> tuple[Sim3, int] | None:
        """map_from_visual of a visual map's submap that came last of all, and its map; None: it has not moved."""
        if self._latest is None or self._latest not in correction.submaps:
            return None
        if self._known[self._latest].visual_id != visual_id:
            return None
        return self._graph.map_from_submap(self._latest), self._known[self._latest].map_id

    def _add_odometry(self, number: int, map_id: int, camera: CameraInOdom | None) -> None:
        if camera is None:
            return
        if self._latest_odom is not None:
            before, its_camera = self._latest_odom
            is_same_map = before in self._graph and self._known[before].map_id == map_id
            if is_same_map and its_camera.epoch == camera.epoch:
                self._graph.add_odometry(before, number, inverse(its_camera.odom_from_cam) @ camera.odom_from_cam)
        self._latest_odom = number, camera

    def _forget(self, submaps: Sequence[int]) -> None:
        """They will not be recognised any more."""
        for number in submaps:
            self._beside.pop(number, None)
        self._unwanted.update(number for number in submaps if number in self._graph)

    def _shrink(self) -> None:
        for gone, found in self._graph.shrink().items():
            del self._known[gone]
            moved = {number: pair for number, pair in self._beside.items() if pair[0] == gone}
            for number, (_, gone_from_it) in moved.items():
                del self._beside[number]
                if found is not None:
                    self._beside[number] = found[0], found[1].compose(gone_from_it)
            if found is not None and gone not in self._unwanted:
                self._beside[gone] = found
            self._unwanted.discard(gone)

    def _resolve(self, number: int) -> tuple[int, Sim3] | None:
        """A submap of the graph, and its frame from this one's."""
        return (number, IDENTITY) if number in self._graph else self._beside.get(number)

    def _correction(self, first: int) -> Correction:
        """From where everything was published to where it is now; what hangs together is one map from now on."""
        map_id = self._known[first].map_id
        numbers = [n for n in self._known if self._graph.are_connected(first, n)]
        map_ids = np.array([self._known[n].map_id for n in numbers])
        old = [self._known[n].map_from_visual for n in numbers]
        new = [self._graph.map_from_submap(n) for n in numbers]
        for number, placed in zip(numbers, new, strict=True):
            self._known[number] = replace(self._known[number], map_from_visual=placed, map_id=map_id)
        return Correction(map_id, np.array(numbers), map_ids, stacked(new).compose(stacked(old).inverse))


def similarity_between(a_from_cam: np.ndarray, b_from_cam: np.ndarray, a_per_b: float) -> Sim3:
    """a_from_b of two frames, by one camera's rigid poses (4, 4) in them and the ratio of their units."""
    rotation = a_from_cam[:3, :3] @ b_from_cam[:3, :3].T
    return Sim3.of(a_per_b, rotation, a_from_cam[:3, 3] - a_per_b * rotation @ b_from_cam[:3, 3])


def _rescaled(submap: Submap, unit_before: float | None, unit: float | None) -> Sim3:
    """The visual map as it was at the submap before from what it is now: its unit drifts, and is measured anew."""
    if unit_before is None or unit is None:
        return IDENTITY
    return rescale_about(submap.map_from_cam[:3, 3], unit / unit_before)
