"""Odometry factors of the pose graph: metric relative poses between cameras, independent of the submaps' units.

GTSAM has no such factor. A custom factor in Python would be called once per edge and hold Python's global lock; here
all edges are linearized at once in NumPy and passed to GTSAM as linear factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .factors import Edge, library


class OdometryTerms:
    """E odometry edges between N nodes. Nodes are passed as (N, 4, 4): GTSAM's ``[[R, t], [0, 1 / scale]]``."""

    def __init__(self, edges: Sequence[Edge], nodes: Sequence[int]) -> None:
        index = {node: number for number, node in enumerate(nodes)}
        self._keys = [(edge.before, edge.after) for edge in edges]
        self._ends = np.array([(index[a], index[b]) for a, b in self._keys], np.intp).reshape(-1, 2).T
        measured = np.array([edge.relative.matrix() for edge in edges]).reshape(-1, 4, 4)  # of scale 1
        self._turned, self._moved = measured[:, :3, :3], measured[:, :3, 3]
        covariance = np.array([edge.covariance[:6, :6] for edge in edges]).reshape(-1, 6, 6)
        self._whiten = np.linalg.inv(np.linalg.cholesky(covariance))

    def residuals(self, nodes: np.ndarray) -> np.ndarray:
        """(E, 6): rotation and translation, in standard deviations."""
        residuals, _, _ = self._measured(nodes)
        return np.einsum("eij,ej->ei", self._whiten, residuals)

    def jacobians(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of `residuals` by the tangents of the earlier and of the later node, (E, 6, 7) each."""
        residuals, turned, moved = self._measured(nodes)
        before_scale, after_scale = 1 / nodes[self._ends, 3, 3]
        back = _transposed(self._turned)
        derivative = _logarithm_derivative(residuals[:, :3])
        first, second = np.zeros((2, len(residuals), 6, 7))
        first[:, :3, :3], second[:, :3, :3] = -derivative @ _transposed(turned), derivative
        first[:, 3:, :3] = back @ _cross(moved)
        first[:, 3:, 3:6] = -before_scale[:, None, None] * back
        second[:, 3:, 3:6] = after_scale[:, None, None] * back @ turned
        return self._whiten @ first, self._whiten @ second

    def linearized(self, nodes: np.ndarray) -> list[Any]:
        """GTSAM's linear factors of the tangents, in standard deviations."""
        gtsam = library()
        unit = gtsam.noiseModel.Unit.Create(6)
        terms = zip(self._keys, *self.jacobians(nodes), -self.residuals(nodes), strict=True)
        return [gtsam.JacobianFactor(a, first, b, second, rest, unit) for (a, b), first, second, rest in terms]

    def _measured(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (E, 6), and the later camera's rotation (E, 3, 3) and translation (E, 3) in the earlier one."""
        before, after = nodes[self._ends]
        metres = after[:, :3, 3] / after[:, 3, 3, None] - before[:, :3, 3] / before[:, 3, 3, None]
        turned = _transposed(before[:, :3, :3]) @ after[:, :3, :3]
        moved = np.einsum("eji,ej->ei", before[:, :3, :3], metres)
        aside = np.einsum("eji,ej->ei", self._turned, moved - self._moved)
        return np.concatenate([_logarithm(_transposed(self._turned) @ turned), aside], axis=1), turned, moved


def _transposed(matrices: np.ndarray) -> np.ndarray:
    return matrices.swapaxes(-1, -2)


def _logarithm(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors (E, 3) of (E, 3, 3)."""
    rot3 = library().Rot3
    return np.array([rot3.Logmap(rot3(matrix)) for matrix in rotation]).reshape(-1, 3)


def _logarithm_derivative(vector: np.ndarray) -> np.ndarray:
    """(E, 3, 3): derivative of rotation vectors (E, 3) by a small rotation on the right (inverse right Jacobian)."""
    angle = np.linalg.norm(vector, axis=1)
    half = np.maximum(angle, 1e-3) / 2
    cross = _cross(vector)
    square = np.where(angle > 1e-3, (1 - half / np.tan(half)) / (4 * half**2), 1 / 12 + angle**2 / 720)
    return np.eye(3) + cross / 2 + square[:, None, None] * (cross @ cross)


def _cross(vector: np.ndarray) -> np.ndarray:
    """Cross-product matrices (E, 3, 3) of vectors (E, 3)."""
    x, y, z = vector.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
