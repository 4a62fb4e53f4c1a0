"""Decides which loop closures are accepted.

    loops = LoopHypotheses(graph)
    loops.add(LoopClosure(0, 40, submap0_from_submap40, residual))    # on trial until the next `optimize`
    solution = loops.optimize()                                       # which loops are accepted

Every decision is a question to the pose graph: how much would its squared error rise with this loop? A loop within one
component is accepted if the rise is small. Two loops that agree with each other win against one accepted loop, or
against one odometry factor. Two components are joined only by two loops that agree, or one where a hint has it.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ...errors import AlignmentError, InputError
from .config import LoopClosure, RejectedLoop, Solution
from .factors import Edge
from .graph import PoseGraph

MAX_REMEMBERED = 3  # rejected loops that may be confirmed later; each costs some solving


class LoopHypotheses:
    """Loops on trial, accepted, contradicted, and unconfirmed ones between two components."""

    def __init__(self, graph: PoseGraph) -> None:
        self._graph = graph
        self._accepted: dict[tuple[int, int], tuple[LoopClosure, Edge]] = {}
        self._trial: list[LoopClosure] = []
        self._contradicted: deque[LoopClosure] = deque(maxlen=MAX_REMEMBERED)
        self._unconfirmed: deque[LoopClosure] = deque(maxlen=MAX_REMEMBERED)  # the only one between two components

    @property
    def accepted(self) -> tuple[LoopClosure, ...]:
        """Oldest decision first."""
        return tuple(loop for loop, _ in self._accepted.values())

    @property
    def submaps(self) -> frozenset[int]:
        """Ends of the loops that are accepted or on trial; the graph must not merge them."""
        return frozenset(end for loop in (*self.accepted, *self._trial) for end in (loop.first, loop.second))

    def add(self, loop: LoopClosure) -> None:
        """On trial until the next `optimize`. Raises InputError: the graph does not hold its ends, in this order."""
        self._graph.require(loop.first, loop.second)
        if loop.first >= loop.second:
            raise InputError(f"a loop goes from an older to a newer submap, got {loop.first} and {loop.second}")
        self._trial.append(loop)

    def optimize(self) -> Solution:
        """Moves the submaps to the least squared error, and decides about the loops on trial.

        Raises:
            AlignmentError: the edges do not determine the submaps; everything is as before, without the trials.
        """
        trial = self._trial
        self._trial = []
        before = set(self.accepted)
        state = self._graph.state()
        accepted = dict(self._accepted)
        try:
            refused = [entry for loop in trial if (entry := self._try(loop)) is not None]
            refused += self._drop_contradicted()
        except AlignmentError:
            self._graph.restore(state)
            self._accepted = accepted
            raise
        return Solution(tuple(loop for loop in self.accepted if loop not in before), tuple(refused))

    def _try(self, loop: LoopClosure) -> RejectedLoop | None:
        """Accepts a loop (None), or says why another one or this one is rejected."""
        if not self._graph.are_connected(loop.first, loop.second):
            return self._try_to_join(loop)
        cost = self._solve()
        before = self._graph.state()
        edge = self._graph.loop_edge(loop)
        self._graph.spread_error(edge)
        rise = self._solve(edge) - cost
        if self._is_small(rise):
            self._accept(loop)
            return None
        self._graph.restore(before)
        if self._replace_odometry(loop):
            return None
        return self._replace_accepted(loop) or self._remember(loop, rise)

    def _try_to_join(self, loop: LoopClosure) -> RejectedLoop | None:
        """Joins two components if an earlier loop between them, or a hint, agrees: nothing contradicts one alone."""
        if loop.is_expected:
            self._graph.join(edge := self._graph.loop_edge(loop))
            self._graph.solve([*self._edges(), edge])
            self._accept(loop)
            return None
        components = self._components(loop)
        for other in [known for known in self._known(self._unconfirmed) if self._components(known) == components]:
            before = self._graph.state()
            first = self._graph.loop_edge(other)
            self._graph.join(first)
            cost = self._graph.solve([*self._edges(), first])
            if self._is_small(self._solve(first, self._graph.loop_edge(loop)) - cost):
                self._unconfirmed.remove(other)
                self._accept(other, loop)
                return None
            self._graph.restore(before)
        self._unconfirmed.append(loop)
        return RejectedLoop(loop, "it alone would join two maps; it waits for a second one that agrees")

    def _replace_odometry(self, loop: LoopClosure) -> bool:
        """Removes an odometry factor that two agreeing loops contradict: odometry does not measure a carried robot."""
        edge = self._graph.loop_edge(loop)
        for other in self._known(self._contradicted):
            for odometry in self._odometry_alone(max(loop.first, other.first), min(loop.second, other.second)):
                before = self._graph.state()
                first = self._graph.loop_edge(other)
                self._graph.replace_odometry(odometry, first)
                cost = self._solve(first)
                if self._is_small(self._solve(first, edge) - cost):
                    self._contradicted.remove(other)
                    self._accept(other, loop)
                    return True
                self._graph.restore(before)
        return False

    def _replace_accepted(self, loop: LoopClosure) -> RejectedLoop | None:
        """Replaces one accepted loop by two that agree with each other; returns the one that was accepted before."""
        before = self._graph.state()
        edge = self._graph.loop_edge(loop)
        for other in self._known(self._contradicted):
            pair = [edge, self._graph.loop_edge(other)]
            self._graph.solve([*self._edges(), *pair])
            if (worst := self._worst()) is None:
                break
            kept = [known for key, (_, known) in self._accepted.items() if key != worst]
            cost = self._graph.solve(kept)
            if self._is_small(self._graph.solve(kept, trial=pair) - cost):
                replaced, _ = self._accepted.pop(worst)
                self._contradicted.remove(other)
                self._accept(other, loop)
                return RejectedLoop(replaced, "other loops contradict it: without it two more fit")
            self._graph.restore(before)
        return None

    def _remember(self, loop: LoopClosure, rise: float) -> RejectedLoop:
        self._contradicted.append(loop)
        return RejectedLoop(loop, f"the rest contradicts it: the squared error would rise by {rise:.0f}")

    def _drop_contradicted(self) -> list[RejectedLoop]:
        """Solves, and rejects accepted loops that no longer fit, the worst one first."""
        rejected: list[RejectedLoop] = []
        while True:
            self._solve()
            worst = self._worst()
            error = 0.0 if worst is None else self._graph.squared_error(self._accepted[worst][1])
            if worst is None or self._is_small(error):
                return rejected
            loop, _ = self._accepted.pop(worst)
            rejected.append(RejectedLoop(loop, f"the rest contradicts it now: its squared error is {error:.0f}"))

    def _solve(self, *trial: Edge) -> float:
        """Squared error with all accepted loops and these."""
        return self._graph.solve(self._edges(), trial)

    def _is_small(self, rise: float) -> bool:
        return rise <= self._graph.config.max_contradiction

    def _accept(self, *loops: LoopClosure) -> None:
        for loop in loops:
            self._accepted[loop.first, loop.second] = loop, self._graph.loop_edge(loop)
            if len(self._accepted) > self._graph.config.max_loops:
                del self._accepted[self._least_needed()]

    def _edges(self) -> list[Edge]:
        return [edge for _, edge in self._accepted.values()]

    def _known(self, loops: deque[LoopClosure]) -> list[LoopClosure]:
        """Those whose ends the graph has not merged."""
        return [loop for loop in loops if loop.first in self._graph and loop.second in self._graph]

    def _components(self, loop: LoopClosure) -> tuple[int, int]:
        return self._graph.component(loop.first), self._graph.component(loop.second)

    def _odometry_alone(self, start: int, end: int) -> list[Edge]:
        """Odometry to a submap after ``start``, up to ``end``, that has no registration to an earlier one."""
        edges = self._graph.edges
        registered = {edge.after for edge in edges if edge.kind == "registration"}
        return [e for e in edges if e.kind == "odometry" and e.after not in registered and start < e.after <= end]

    def _worst(self) -> tuple[int, int] | None:
        """The accepted loop with the largest squared error; None: there is none."""
        errors = {key: self._graph.squared_error(edge) for key, (_, edge) in self._accepted.items()}
        return max(errors, key=lambda key: errors[key], default=None)

    def _least_needed(self) -> tuple[int, int]:
        """The older one of the two accepted loops whose ends are nearest to each other."""
        keys = sorted(self._accepted, key=lambda key: key[1])
        ends = np.array(keys)
        apart = np.abs(ends[:, None] - ends).sum(axis=-1) + np.where(np.tri(len(keys), dtype=bool), np.inf, 0)
        return keys[int(np.unravel_index(apart.argmin(), apart.shape)[0])]
