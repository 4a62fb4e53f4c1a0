"""The submaps of all maps in one pose graph: a loop closure comes in, a correction of all submaps goes out.

The graph's frame is that of the published map: metres where the scale is known, and REP-105's ``map``. It publishes
nothing until a loop is closed. A submap that the graph has merged is still known by its pose in one that stayed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
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
from .hypotheses import LoopHypotheses
from .keyframes import MAX_KEYFRAMES, Keyframes
from .merging import shrink

CONFIG = PoseGraphConfig(max_submaps=250, max_loops=60)  # a larger graph takes longer, and windows wait for it
NO_MOVE = 1e-9  # of the depth: rounding
MAX_WAITING = 400  # submaps whose pose in the map is not known yet


@dataclass(frozen=True, eq=False)
class _Published:
    """A submap of the graph as it was published."""

    map_id: int
    visual_id: int
    map_from_visual: Sim3
    unit: float | None  # metres per unit of the visual map; None: unknown


class SubmapGraph:
    """Takes submaps in their order, and loop closures between any two of them. Not thread-safe."""

    def __init__(self, is_metric: bool, config: PoseGraphConfig = CONFIG) -> None:
        """``is_metric``: all maps have the same unit. Raises ConfigError: GTSAM is not installed."""
        self._is_metric = is_metric
        self._config = config
        self._num_saved = 0
        self.forget()

    def __len__(self) -> int:
        return len(self._graph)

    def forget(self) -> None:
        """Forgets all submaps: the next map will not be joined to earlier ones."""
        self._graph = PoseGraph(self._config)
        self._loops = LoopHypotheses(self._graph)
        self._published: dict[int, _Published] = {}
        self._merged: dict[int, tuple[int, Sim3]] = {}  # a submap of the graph, and its frame from the merged one's
        self._unrecognizable: set[int] = set()  # submaps of the graph whose images are no longer stored
        self._waiting: deque[tuple[Submap, CameraInOdom | None]] = deque(maxlen=MAX_WAITING)
        self._keyframes = Keyframes()
        self.keyframe_problem = ""  # why the graph could not take what they said the last time; empty: it could
        self._has_adjusted = False  # since the latest correction
        self.dropped: tuple[RejectedLoop, ...] = ()  # accepted loops that contradict what they said the last time
        self._latest: int | None = None
        self._latest_odom: tuple[int, CameraInOdom] | None = None
        self.saved_id: int | None = None  # of the saved map; None: there is none

    def load(self, submaps: Sequence[int]) -> int:
        """Forgets all submaps, and takes those of a saved map, which never moves.

        Args:
            submaps: numbers of the stored submaps; their poses are given in the saved map's frame.

        Returns:
            The saved map's id, below zero; ids of new maps count up from 0.
        """
        self.forget()
        self._num_saved += 1
        self.saved_id = -self._num_saved
        first = submaps[0]
        self._graph.begin_component(first, IDENTITY, np.eye(4), depth=1.0, is_fixed=True)
        self._published[first] = _Published(self.saved_id, self.saved_id, IDENTITY, None)
        self._merged = dict.fromkeys(submaps[1:], (first, IDENTITY))
        return self.saved_id

    def hold(self, submap: Submap, camera: CameraInOdom | None) -> None:
        """Keeps a submap whose pose in the map is not known yet."""
        self._waiting.append((submap, camera))
        self._forget(submap.forgotten)

    def place_waiting(self, map_from_visual: Sim3, map_id: int, visual_id: int, unit: float | None) -> None:
        """Adds the waiting submaps of one visual map, whose pose is known now; drops the others."""
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
        """Adds a submap as it is published.

        Args:
            camera: the reference camera's pose by odometry; None: there is no odometry.
            unit: metres per unit of the visual map, if it is measured by something other than odometry.
        """
        before = None if self._latest is None else self._published.get(self._latest)
        is_next = submap.num_registrations > 0 and self._latest == submap.number - 1
        if before is not None and is_next and (before.map_id, before.visual_id) == (map_id, submap.map_id):
            latest_from_this = _rescaled(submap, before.unit, unit)
            self._graph.add_submap(
                submap.number, latest_from_this, submap.map_from_cam, submap.depth, submap.num_registrations,
                submap.motions,
            )  # fmt: skip
        else:
            self._graph.begin_component(submap.number, map_from_visual, submap.map_from_cam, submap.depth)
        self._published[submap.number] = _Published(map_id, submap.map_id, map_from_visual, unit)
        if not submap.is_place:
            self._unrecognizable.add(submap.number)
        self._keyframes.add(submap)
        self._latest = submap.number
        self._add_odometry(submap.number, map_id, camera)
        self._forget(submap.forgotten)
        self._shrink()

    @property
    def num_unadjusted(self) -> int:
        """Keyframes since the latest `adjust`."""
        return self._keyframes.num_new

    @property
    def num_adjusted(self) -> int:
        """Keyframes in the latest `adjust`; 0: no two of them shared enough tracks."""
        return self._keyframes.num_adjusted

    def adjust(self, least: float = 0.0, most: int = MAX_KEYFRAMES) -> Correction | None:
        """Adjusts at most so many of the latest keyframes by the tracks that go through them.

        None: that has changed nothing since the latest correction; or no submap of the latest one's map is away from
        where it was published by ``least`` of its depth, nor has it changed its unit by as much. The next correction of
        that map has it, too.
        """
        changes = self._keyframes.changes(self._graph, most)
        self.keyframe_problem, self.dropped = self._keyframes.problem, ()
        if changes:
            self._remeasure(changes)
        if self._latest is None or not self._has_adjusted or self._unpublished(self._latest) < max(least, NO_MOVE):
            return None
        return self._correction(self._latest)

    def _remeasure(self, changes: Mapping[int, Sim3]) -> None:
        state = self._graph.state()
        self._graph.remeasure(changes)
        try:
            self.dropped, self._has_adjusted = self._loops.optimize().refused, True
        except AlignmentError as error:
            self._graph.restore(state)
            self.keyframe_problem = str(error)

    def _unpublished(self, submap: int) -> float:
        """The largest move of the submaps of one map since they were published, as `factors.move` has it."""
        connected = (n for n in self._published if self._graph.are_connected(n, submap))
        return max(self._graph.moved(n, self._published[n].map_from_visual) for n in connected)

    def expected_scale(self, first: int, second: int) -> float | None:
        """The first submap's units per unit of the second one; None: unknown."""
        one_end = self._resolve(first)
        other_end = self._resolve(second)
        if one_end is None or other_end is None:
            return None
        (one, one_from_first), (other, other_from_second) = one_end, other_end
        if not self._is_metric and self._published[one].map_id != self._published[other].map_id:
            return None
        units = self._graph.map_from_submap(one).scale, self._graph.map_from_submap(other).scale
        return float(units[1] * other_from_second.scale / (units[0] * one_from_first.scale))

    def close(self, loop: LoopClosure) -> Correction | RejectedLoop:
        """The correction of all submaps of the map, or why the loop is not accepted."""
        one_end = self._resolve(loop.first)
        other_end = self._resolve(loop.second)
        if one_end is None or other_end is None:
            return RejectedLoop(loop, "its submaps are no longer in the graph")
        (first, one_from_first), (second, other_from_second) = one_end, other_end
        if first >= second:
            return RejectedLoop(loop, "its ends have been merged into one")
        between = one_from_first.compose(loop.first_from_second).compose(other_from_second.inverse)
        self._loops.add(replace(loop, first=first, second=second, first_from_second=between))
        try:
            solution = self._loops.optimize()
        except AlignmentError as error:
            return RejectedLoop(loop, str(error))
        if not solution.accepted:
            return replace(solution.refused[-1], loop=loop)
        return self._correction(first)

    def latest(self, correction: Correction, visual_id: int | None) -> tuple[Sim3, int] | None:
        """map_from_visual of the latest submap, and its map id; None: not corrected, or of another visual map."""
        if self._latest is None or self._latest not in correction.submaps:
            return None
        if self._published[self._latest].visual_id != visual_id:
            return None
        return self._graph.map_from_submap(self._latest), self._published[self._latest].map_id

    def _add_odometry(self, number: int, map_id: int, camera: CameraInOdom | None) -> None:
        if camera is None:
            return
        if self._latest_odom is not None:
            before, its_camera = self._latest_odom
            is_same_map = before in self._graph and self._published[before].map_id == map_id
            if is_same_map and its_camera.epoch == camera.epoch:
                self._graph.add_odometry(before, number, inverse(its_camera.odom_from_cam) @ camera.odom_from_cam)
        self._latest_odom = number, camera

    def _forget(self, submaps: Sequence[int]) -> None:
        """These submaps will not be recognized any more."""
        for number in submaps:
            self._merged.pop(number, None)
        self._unrecognizable.update(number for number in submaps if number in self._graph)

    def _shrink(self) -> None:
        for merged, nearest in shrink(self._graph, self._loops.submaps, self._unrecognizable).items():
            del self._published[merged]
            earlier = {number: pair for number, pair in self._merged.items() if pair[0] == merged}
            for number, (_, merged_from_number) in earlier.items():
                del self._merged[number]
                if nearest is not None:
                    self._merged[number] = nearest[0], nearest[1].compose(merged_from_number)
            if nearest is not None and merged not in self._unrecognizable:
                self._merged[merged] = nearest
            self._unrecognizable.discard(merged)

    def _resolve(self, number: int) -> tuple[int, Sim3] | None:
        """A submap of the graph, and ``its_from_this``; None: neither this one nor one it was merged into is known."""
        return (number, IDENTITY) if number in self._graph else self._merged.get(number)

    def _correction(self, first: int) -> Correction:
        """From the published poses to the present ones, for the submap's component, which is one map from now on."""
        map_id = self._published[first].map_id
        numbers = [n for n in self._published if self._graph.are_connected(first, n)]
        map_ids = np.array([self._published[n].map_id for n in numbers])
        old = [self._published[n].map_from_visual for n in numbers]
        new = [self._graph.map_from_submap(n) for n in numbers]
        for number, placed in zip(numbers, new, strict=True):
            self._published[number] = replace(self._published[number], map_from_visual=placed, map_id=map_id)
        self._has_adjusted = False
        return Correction(map_id, np.array(numbers), map_ids, stacked(new).compose(stacked(old).inverse))


def _rescaled(submap: Submap, unit_before: float | None, unit: float | None) -> Sim3:
    """From the visual map now to the visual map at the submap before; the unit drifts and is measured again."""
    if unit_before is None or unit is None:
        return IDENTITY
    return rescale_about(submap.map_from_cam[:3, 3], unit / unit_before)
