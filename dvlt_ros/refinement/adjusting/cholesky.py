"""Many symmetric systems of three unknowns at once, each entry a plane: NumPy's own solver takes them one by one."""

from __future__ import annotations

import numpy as np

LEAST = 1e-14  # of a diagonal entry, what rounding may leave of it: less would be below 0 for a singular matrix


def cholesky(matrices: np.ndarray) -> np.ndarray:
    """Lower factors (3, 3, P) of matrices (3, 3, P) that are positive definite, or singular but for rounding."""
    root = np.zeros_like(matrices)
    root[0, 0] = np.sqrt(matrices[0, 0])
    root[1:, 0] = matrices[1:, 0] / root[0, 0]
    root[1, 1] = np.sqrt(np.maximum(matrices[1, 1] - root[1, 0] ** 2, LEAST * matrices[1, 1]))
    root[2, 1] = (matrices[2, 1] - root[2, 0] * root[1, 0]) / root[1, 1]
    left = matrices[2, 2] - root[2, 0] ** 2 - root[2, 1] ** 2
    root[2, 2] = np.sqrt(np.maximum(left, LEAST * matrices[2, 2]))
    return root


def lower_solved(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``L^-1 right`` with factors (3, 3, P), of (..., 3, P)."""
    result = np.empty_like(right)
    result[..., 0, :] = right[..., 0, :] / root[0, 0]
    result[..., 1, :] = (right[..., 1, :] - root[1, 0] * result[..., 0, :]) / root[1, 1]
    result[..., 2, :] = right[..., 2, :] - root[2, 0] * result[..., 0, :] - root[2, 1] * result[..., 1, :]
    result[..., 2, :] /= root[2, 2]
    return result


def upper_solved(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``L^-T right`` with factors (3, 3, P), of (3, P)."""
    result = np.empty_like(right)
    result[2] = right[2] / root[2, 2]
    result[1] = (right[1] - root[2, 1] * result[2]) / root[1, 1]
    result[0] = (right[0] - root[1, 0] * result[1] - root[2, 0] * result[2]) / root[0, 0]
    return result


def solved(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``M^-1 right`` of positive definite matrices (3, 3, P) and (3, P)."""
    root = cholesky(matrices)
    return upper_solved(root, lower_solved(root, right))
