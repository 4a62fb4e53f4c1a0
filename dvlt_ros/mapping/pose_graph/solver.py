"""The Levenberg-Marquardt method in short steps: GTSAM linearizes and solves, this file iterates.

GTSAM holds Python's global lock while it works. Its own optimizer holds it until the solution is found. Here it is held
for one step at a time (about 2 ms with 300 submaps), so other threads can run between the steps. The steps and the
stopping rule are those of ``gtsam.LevenbergMarquardtOptimizer``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import AlignmentError
from .factors import Edge, Similarity, library
from .odometry import OdometryTerms

MAX_ITERATIONS = 50
CONVERGED = 1e-5  # relative change of the squared error at which the iteration stops; 0 would follow rounding errors
DAMPING = 1e-5  # at the start, of the normal equations' diagonal
MAX_DAMPING = 1e5
DAMPING_FACTOR = 10.0  # per accepted or rejected step
MIN_FIDELITY = 1e-3  # of the gain that the linear problem predicts, for a step to be accepted


def minimize(
    factors: Sequence[Any], odometry: Sequence[Edge], start: Mapping[int, Similarity]
) -> tuple[dict[int, Similarity], float]:
    """Nodes with the least squared error of all factors and the odometry edges, and that error.

    Args:
        start: of all nodes, ``map_from_cam``.

    Raises:
        AlignmentError: factors and odometry do not determine the nodes, or something is not finite.
    """
    solver = _Solver(factors, odometry, start)
    if not math.isfinite(solver.error):
        raise AlignmentError("the pose graph has no solution: an edge or a submap is not finite")
    try:
        for _ in range(MAX_ITERATIONS):
            before = solver.error
            solver.step()
            if before - solver.error <= CONVERGED * max(before, 1.0):
                break
    except RuntimeError as error:
        raise AlignmentError(f"the pose graph has no solution: {str(error).strip().splitlines()[0]}") from error
    return {node: solver.values.atSimilarity3(node) for node in start}, 2 * solver.error


class _Solver:
    """The nodes so far, and half of their squared error (as GTSAM counts it)."""

    def __init__(self, factors: Sequence[Any], odometry: Sequence[Edge], start: Mapping[int, Similarity]) -> None:
        gtsam = library()
        self._graph, self.values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for term in factors:
            self._graph.add(term)
        for node, similarity in start.items():
            self.values.insert(node, similarity)
        self._nodes = list(start)
        self._odometry = OdometryTerms(odometry, self._nodes)
        self._damping = DAMPING
        self.error = self._error(self.values)

    def step(self) -> None:
        """One step to a smaller error, with as much damping as needed; no step if none reduces the error."""
        linear = self._linearized()
        predicted_from = linear.error(self.values.zeroVectors())
        while True:
            change = self._change(linear)
            moved, predicted = self.values.retract(change), predicted_from - linear.error(change)
            error = self._error(moved)
            gain = self.error - error
            if predicted > 0 and gain > MIN_FIDELITY * predicted:
                self.values = moved
                self.error = error
                self._damping /= DAMPING_FACTOR
                return
            if abs(gain) < CONVERGED * self.error or not self._damp_more():
                return

    def _change(self, linear: Any) -> Any:
        """Tangents of all nodes; a singular system gets more damping. Raises RuntimeError: it stays singular."""
        while True:
            try:
                return self._damped(linear).optimize()
            except RuntimeError:
                if not self._damp_more():
                    raise

    def _damp_more(self) -> bool:
        if DAMPING_FACTOR * self._damping >= MAX_DAMPING:
            return False
        self._damping *= DAMPING_FACTOR
        return True

    def _error(self, values: Any) -> float:
        by_odometry = self._odometry.residuals(self._matrices(values))
        return float(self._graph.error(values)) + float((by_odometry**2).sum()) / 2

    def _linearized(self) -> Any:
        linear = self._graph.linearize(self.values)
        for term in self._odometry.linearized(self._matrices(self.values)):
            linear.push_back(term)
        return linear

    def _damped(self, linear: Any) -> Any:
        gtsam = library()
        damped = gtsam.GaussianFactorGraph()
        root = self._damping**0.5 * np.eye(7)
        zero = np.zeros(7)
        unit = gtsam.noiseModel.Unit.Create(7)
        damped.push_back(linear)
        for node in self._nodes:
            damped.add(node, root, zero, unit)
        return damped

    def _matrices(self, values: Any) -> np.ndarray:
        """(N, 4, 4) of all nodes, in GTSAM's convention."""
        return np.stack([values.atSimilarity3(node).matrix() for node in self._nodes])
