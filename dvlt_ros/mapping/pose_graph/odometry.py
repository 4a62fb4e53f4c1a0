"""The wheels' part of the pose graph: metres and angles between cameras, nothing of a submap's unit.

GTSAM has no such factor, and one written in Python is called for each edge, with all others waiting for Python's lock:
here all edges are computed at once and handed to it when they are linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .factors import Edge, library


class OdometryTerms:
    """Of E edges between N nodes, which come as their ``matrix()`` (N, 4, 4), in GTSAM ``[[R, t], [0, 1 / scale]]``."""

    def __init__(self, edges: Sequence[Edge], nodes: Sequence[int]) -> None:
        index = {node: number for number, node in enumerate(nodes)}
        self._keys = [(edge.before, edge.after) for edge in edges]
        self._ends = np.array([(index[a], index[b]) for a, b in self._keys], np.intp).reshape(-1, 2).T
        measured = np.array([edge.relative.matrix() for edge in edges]).reshape(-1, 4, 4)  # of scale 1
        self._turned, self._moved = measured[:, :3, :3], measured[:, :3, 3]
        covariance = np.array([edge.covariance[:6, :6] for edge in edges]).reshape(-1, 6, 6)
        self._whiten = np.linalg.inv(np.linalg.cholesky(covariance))

    def residuals(self, nodes: np.ndarray) -> np.ndarray:
        """(E, 6), rotation and translation in their own standard deviations."""
        residuals, _, _ = self._measured(nodes)
        return np.einsum("eij,ej->ei", self._whiten, residuals)

    def jacobians(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(E, 6, 7) each, of `residuals` by the tangents of the node before and of the one after."""
        residuals, turned, moved = self._measured(nodes)
        (before_scale, after_scale), back = 1 / nodes[self._ends, 3, 3], _transposed(self._turned)
        derivative = _logarithm_derivative(residuals[:, :3])
        first, second = np.zeros((2, len(residuals), 6, 7))
        first[:, :3, :3], second[:, :3, :3] = -derivative @ _transposed(turned), derivative
        first[:, 3:, :3] = back @ _cross(moved)
        first[:, 3:, 3:6] = -before_scale[:, None, None] * back
        second[:, 3:, 3:6] = after_scale[:, None, None] * back @ turned
        return self._whiten @ first, self._whiten @ second

    def linearized(self, nodes: np.ndarray) -> list[Any]:
        """GTSAM's factors of the tangents, whitened."""
        gtsam = library()
        unit = gtsam.noiseModel.Unit.Create(6)
        terms = zip(self._keys, *self.jacobians(nodes), -self.residuals(nodes), strict=True)
        return [gtsam.JacobianFactor(a, first, b, second, rest, unit) for (a, b), first, second, rest in terms]

    def _measured(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (E, 6), and how the later camera is turned (E, 3, 3) and moved (E, 3) against the one before."""
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
    """(E, 3, 3): how rotation vectors (E, 3) change with a small turn at the right side (inverse right Jacobian)."""
    angle = np.linalg.norm(vector, axis=1)
    half, cross = np.maximum(angle, 1e-3) / 2, _cross(vector)
    square = np.where(angle > 1e-3, (1 - half / np.tan(half)) / (4 * half**2), 1 / 12 + angle**2 / 720)
    return np.eye(3) + cross / 2 + square[:, None, None] * (cross @ cross)


def _cross(vector: np.ndarray) -> np.ndarray:
    """(E, 3, 3) that multiply as the cross product with (E, 3) does."""
    x, y, z = vector.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
