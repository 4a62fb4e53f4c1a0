"""Where all submaps of the map lie, from registrations, odometry and loops together.

    graph.begin(0, map_from_submap, submap_from_cam, depth)
    graph.add_submap(1, submap0_from_submap1, submap_from_cam, depth)    registration
    graph.add_odometry(0, 1, cam0_from_cam1)                                 metres: the scale becomes known
    graph.add_loop(LoopClosure(0, 40, submap0_from_submap40, residual))           on trial until the next `optimize`
    solution = graph.optimize()                                              which loops are believed
    graph.map_from_submap(1)

A loop is believed if the rest does not contradict it; what contradicts each other is settled by what agrees.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ...alignment import Sim3
from ...errors import AlignmentError, InputError
from .config import LoopClosure, PoseGraphConfig, RejectedLoop, Solution
from .factors import Edge, library, squared_error
from .submap_poses import SubmapPoses, diagonal

REMEMBERED_REFUSALS = 3  # each costs some solving when a loop is contradicted


class PoseGraph(SubmapPoses):
    """Decides which loops are believed, and stays small."""

    def __init__(self, config: PoseGraphConfig | None = None) -> None:
        super().__init__(config)
        self._loops: dict[tuple[int, int], tuple[LoopClosure, Edge]] = {}
        self._trial: list[LoopClosure] = []
        self._contradicted: deque[LoopClosure] = deque(maxlen=REMEMBERED_REFUSALS)
        self._lonely: deque[LoopClosure] = deque(maxlen=REMEMBERED_REFUSALS)  # the only ones between their two parts

    @property
    def loops(self) -> tuple[LoopClosure, ...]:
        """Those that are believed."""
        return tuple(loop for loop, _ in self._loops.values())

    def add_loop(self, loop: LoopClosure) -> None:
        """On trial until the next `optimize`."""
        self._require(loop.first, loop.second)
        if loop.first >= loop.second:
            raise InputError(f"a loop goes from an older to a newer submap, got {loop.first} and {loop.second}")
        self._trial.append(loop)

    def optimize(self) -> Solution:
        """Moves the submaps to where everything fits best, and decides about the loops on trial.

        Raises:
            AlignmentError: what is known does not determine the submaps; they stay where they are.
        """
        known = dict(self._nodes), dict(self._part), dict(self._chain), dict(self._loops)
        before = set(self.loops)
        try:
            refused = [entry for loop in self._take_trials() if (entry := self._try(loop)) is not None]
            refused += self._settle()
        except AlignmentError:
            self._nodes, self._part, self._chain, self._loops = known
            raise
        return Solution(tuple(loop for loop in self.loops if loop not in before), tuple(refused))

    def shrink(self) -> dict[int, tuple[int, Sim3] | None]:
        """Merges submaps until there are at most ``max_submaps``.

        A merged submap's two registrations become one, its odometry too. The first one, those with loops and the newest
        quarter stay, and those that join a epoch of registrations alone to one of odometry alone.

        Returns:
            Of each submap that is gone, one beside it that stays, and that one's frame from its own; None: was alone.
        """
        gone: dict[int, tuple[int, Sim3] | None] = {}
        while len(self._nodes) > self.config.max_submaps:
            submap = self._least_missed()
            gone[submap] = self._beside(submap)
            self._merge(submap)
        return gone

    def _try(self, loop: LoopClosure) -> RejectedLoop | None:
        """Puts a loop into the graph, or says why not."""
        edge, loops = self._loop_edge(loop), self._loop_edges()
        if self._part[loop.first] != self._part[loop.second]:
            return self._try_to_join(loop)
        cost = self._solve(loops)
        before = dict(self._nodes)
        self._bend(edge)
        rise = self._solve(loops, trial=[edge]) - cost
        if rise <= self.config.max_contradiction:
            self._believe(loop)
            return None
        self._nodes = before
        if self._cut_bridge(loop):
            return None
        return self._outvote(loop) or self._remember(loop, rise)

    def _cut_bridge(self, loop: LoopClosure) -> bool:
        """Odometry does not feel how a robot is carried: two loops that agree weigh more than it alone."""
        for other in [old for old in self._contradicted if old.first in self and old.second in self]:
            start, end = max(loop.first, other.first), min(loop.second, other.second)
            bridges = [
                e for e in self._chain.values() if e.kind == "odometry" and ("registration", e.after) not in self._chain
            ]
            for bridge in [edge for edge in bridges if start < edge.after <= end]:
                before, pair = dict(self._nodes), [self._loop_edge(other), self._loop_edge(loop)]
                del self._chain["odometry", bridge.after]
                self._carry(bridge, pair[0])
                cost = self._solve(self._loop_edges(), trial=pair[:1])
                if self._solve(self._loop_edges(), trial=pair) - cost <= self.config.max_contradiction:
                    self._contradicted.remove(other)
                    self._believe(other)
                    self._believe(loop)
                    return True
                self._chain["odometry", bridge.after], self._nodes = bridge, before
        return False

    def _carry(self, bridge: Edge, edge: Edge) -> None:
        """A start for the solver: what comes after the bridge lies where a loop has it."""
        change = self._nodes[edge.before] * edge.relative * self._nodes[edge.after].inverse()
        for submap, part in self._part.items():
            if submap >= bridge.after and part == self._part[edge.after]:
                self._nodes[submap] = change * self._nodes[submap]

    def _try_to_join(self, loop: LoopClosure) -> RejectedLoop | None:
        """Two parts become one only where two loops say the same: nothing else is known that could contradict one."""
        parts = self._part[loop.first], self._part[loop.second]
        for other in [known for known in self._lonely if known.first in self and known.second in self]:
            if (self._part[other.first], self._part[other.second]) != parts:
                continue
            nodes, known_parts = dict(self._nodes), dict(self._part)
            self._join(other.first, other.second, self._nodes[other.first] * self._loop_edge(other).relative)
            cost = self._solve([*self._loop_edges(), self._loop_edge(other)])
            pair = [self._loop_edge(other), self._loop_edge(loop)]
            if self._solve(self._loop_edges(), trial=pair) - cost <= self.config.max_contradiction:
                self._lonely.remove(other)
                self._believe(other)
                self._believe(loop)
                return None
            self._nodes, self._part = nodes, known_parts
        self._lonely.append(loop)
        return RejectedLoop(loop, "it alone would join two maps; it waits for a second one that says the same")

    def _outvote(self, loop: LoopClosure) -> RejectedLoop | None:
        """A loop that contradicts the rest is right where another such loop agrees and one of the rest does not.

        Returns the one that was believed until now and leaves.
        """
        before, edge = dict(self._nodes), self._loop_edge(loop)
        for other in [old for old in self._contradicted if old.first in self and old.second in self]:
            pair = [edge, self._loop_edge(other)]
            self._solve([*self._loop_edges(), *pair])
            if (worst := self._worst()) is None:
                break
            kept = [known for key, (_, known) in self._loops.items() if key != worst]
            rise = -self._solve(kept)
            rise += self._solve(kept, trial=pair)
            if rise <= self.config.max_contradiction:
                left, _ = self._loops.pop(worst)
                self._contradicted.remove(other)
                self._believe(other)
                self._believe(loop)
                return RejectedLoop(left, "other loops contradict it: without it two more fit")
            self._nodes = dict(before)
        return None

    def _remember(self, loop: LoopClosure, rise: float) -> RejectedLoop:
        self._contradicted.append(loop)
        return RejectedLoop(loop, f"the rest contradicts it: the squared error would rise by {rise:.0f}")

    def _settle(self) -> list[RejectedLoop]:
        """Solves without loops that no longer fit; the worst one leaves first."""
        lost: list[RejectedLoop] = []
        while True:
            self._solve(self._loop_edges())
            worst = self._worst()
            error = 0.0 if worst is None else squared_error(self._loops[worst][1], self._nodes)
            if worst is None or error <= self.config.max_contradiction:
                return lost
            loop, _ = self._loops.pop(worst)
            lost.append(RejectedLoop(loop, f"other loops contradict it: its squared error is {error:.0f}"))

    def _take_trials(self) -> list[LoopClosure]:
        trials, self._trial = self._trial, []
        return trials

    def _believe(self, loop: LoopClosure) -> None:
        self._loops[loop.first, loop.second] = loop, self._loop_edge(loop)
        if len(self._loops) > self.config.max_loops:
            del self._loops[self._most_alike()]

    def _loop_edges(self) -> list[Edge]:
        return [edge for _, edge in self._loops.values()]

    def _worst(self) -> tuple[int, int] | None:
        """The loop that fits least; None: there is none."""
        errors = {key: squared_error(edge, self._nodes) for key, (_, edge) in self._loops.items()}
        return max(errors, key=lambda key: errors[key], default=None)

    def _bend(self, edge: Edge) -> None:
        """A start for the solver: what a loop is off is spread over the submaps since its older end."""
        gtsam = library()
        change = self._nodes[edge.before] * edge.relative * self._nodes[edge.after].inverse()
        tangent = gtsam.Similarity3.Logmap(change)
        part = self._part[edge.before]
        submaps = [submap for submap in self._nodes if submap > edge.before and self._part[submap] == part]
        steps = submaps.index(edge.after) + 1
        for step, submap in enumerate(submaps, start=1):
            share = min(1.0, step / steps)
            self._nodes[submap] = gtsam.Similarity3.Expmap(share * tangent) * self._nodes[submap]

    def _least_missed(self) -> int:
        submaps = list(self._nodes)
        looped = {end for key in self._loops for end in key} | {
            w for loop in self._trial for w in (loop.first, loop.second)
        }
        looped |= self._fast
        old = range(1, len(submaps) - self.config.max_submaps // 4)
        spans = {submaps[i]: submaps[i + 1] - submaps[i - 1] for i in old if submaps[i] not in looped}
        hinges = self._hinges()
        loose = {submap: span for submap, span in spans.items() if submap not in hinges}
        return min(loose or spans, key=lambda submap: spans[submap])

    def _most_alike(self) -> tuple[int, int]:
        """The older one of the two loops whose ends are nearest to each other."""
        keys = sorted(self._loops, key=lambda key: key[1])
        ends = np.array(keys)
        apart = np.abs(ends[:, None] - ends).sum(axis=-1) + np.where(np.tri(len(keys), dtype=bool), np.inf, 0)
        return keys[int(np.unravel_index(apart.argmin(), apart.shape)[0])]

    def _loop_edge(self, loop: LoopClosure) -> Edge:
        c = self.config
        spread = max(c.loop_translation, loop.residual) * self._depth[loop.second]
        covariance = diagonal(np.radians(c.loop_rotation_deg), spread, c.loop_scale)
        relative = self._between_cameras(loop.first, loop.second, loop.first_from_second)
        return Edge("loop", loop.first, loop.second, relative, covariance)
