"""Rotations and rigid transforms as NumPy arrays, many at once."""

from __future__ import annotations

import numpy as np

SMALL = 1e-12  # radians, squared: below it a turn is its own sine
CROSS = np.array(
    [[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]], dtype=float
)


def cross_matrix(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3), so that ``cross_matrix(a) @ b`` is the cross product of a and b."""
    return (vectors @ CROSS).reshape(*vectors.shape[:-1], 3, 3)


def rotation_from_vector(vectors: np.ndarray) -> np.ndarray:
    """Axis times angle in radians (..., 3) -> (..., 3, 3) (Rodrigues)."""
    squared = np.square(vectors).sum(axis=-1)[..., None, None]
    angle = np.sqrt(np.maximum(squared, SMALL))
    skew = cross_matrix(vectors)
    return np.eye(3) + np.sin(angle) / angle * skew + (1 - np.cos(angle)) / angle**2 * (skew @ skew)


def vector_from_rotation(rotations: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> axis times angle in radians (..., 3); near half a turn the axis is inexact."""
    m = rotations
    skew = np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], axis=-1)
    double_sine = np.linalg.norm(skew, axis=-1)
    angle = np.arctan2(double_sine, np.trace(m, axis1=-2, axis2=-1) - 1)
    return skew * np.where(double_sine > 1e-9, angle / np.maximum(double_sine, 1e-9), 0.5)[..., None]


def inverse(transforms: np.ndarray) -> np.ndarray:
    """Of rigid transforms (..., 4, 4)."""
    result = np.zeros_like(transforms)
    result[..., :3, :3] = np.swapaxes(transforms[..., :3, :3], -1, -2)
    result[..., :3, 3:] = -result[..., :3, :3] @ transforms[..., :3, 3:]
    result[..., 3, 3] = 1.0
    return result


def orthogonal(transforms: np.ndarray) -> np.ndarray:
    """Rigid transforms (..., 4, 4) whose rotations have lost digits, with the nearest rotations."""
    u, _, vt = np.linalg.svd(transforms[..., :3, :3])
    u[..., :, 2] *= np.linalg.det(u @ vt)[..., None]
    result = transforms.copy()
    result[..., :3, :3] = u @ vt
    return result


def turn_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in radians (...) between rotations (..., 3, 3)."""
    return np.linalg.norm(vector_from_rotation(np.swapaxes(a, -1, -2) @ b), axis=-1)


def relative_jacobian(i_from_j: np.ndarray) -> np.ndarray:
    """(K, 6, 12): of the turns and shifts of (K, 4, 4) by small turns and shifts of frames i and j, on their left."""
    by = np.zeros((len(i_from_j), 6, 12))
    by[:, range(6), range(6)] = 1.0
    by[:, 3:, :3] = -cross_matrix(i_from_j[:, :3, 3])
    by[:, :3, 6:9] = by[:, 3:, 9:] = -i_from_j[:, :3, :3]
    return by
