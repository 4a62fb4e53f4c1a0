"""Robust bundle adjustment of few cameras and some hundred points (Triggs et al., Bundle Adjustment, 2000).

Levenberg-Marquardt with analytic Jacobians. All observations lie in one dense array of points by frames, so that a
window of eight cameras costs a few matrix products; the points leave the normal equations by the Schur complement.
A step turns and shifts each camera on the left: ``cam_from_window`` becomes ``exp(turn, shift) @ cam_from_window``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .problem import Problem, Solution
from .rotations import cross_matrix, inverse, rotation_from_vector, vector_from_rotation

NEAREST = 1e-6  # depth in the window's unit; what is closer lies behind the camera
BEHIND = 10.0  # residual in normalised coordinates of a point behind the camera
POINT_DAMPING = 1e-9  # of a point's own information, so that one without parallax has an inverse
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-9, 1e6
ENOUGH = 3e-4  # relative decrease of the cost that is not worth another round
DEPTH_LIMIT = 2.0  # standard deviations of the network's depth where an outlier begins


@dataclass(frozen=True, eq=False)
class Linear:
    """The normal equations around a state."""

    at: Solution
    cameras: np.ndarray  # (6 S + 1,) squared
    camera_gradient: np.ndarray  # (6 S + 1,)
    crossed: np.ndarray  # (6 S + 1, P, 3), cameras with points
    points: np.ndarray  # (P, 3, 3)
    point_gradient: np.ndarray  # (P, 3)


def adjust(problem: Problem, start: Solution, rounds: int, enough: float = ENOUGH) -> Solution:
    """At most so many steps downhill from ``start``, and none after one that gains less than ``enough`` of the cost."""
    held = np.zeros(6 * problem.seen.shape[1] + 1, dtype=bool)
    held[6 * problem.reference : 6 * problem.reference + 6] = True
    held[-1] = np.isinf(problem.focal_weight)
    best, damping = linearised(problem, start), FIRST_DAMPING
    for _ in range(rounds):
        while damping <= MOST_DAMPING:
            tried = linearised(problem, stepped(best, damping, held))
            if tried.at.cost < best.at.cost:
                break
            damping *= 10
        else:
            break
        gained = 1 - tried.at.cost / best.at.cost
        best, damping = tried, max(damping / 10, LEAST_DAMPING)
        if gained < enough:
            break
    information, gradient, _ = eliminated(best, 0.0)
    return replace(best.at, information=information, gradient=gradient)


def linearised(problem: Problem, at: Solution) -> Linear:
    """Cost and normal equations, each row weighted as Cauchy's cost wants it.

    With B (3, 3) the Jacobian of a sight's residuals by the camera's shift, that by its turn is ``-B [p]x`` at the
    point p in its frame, and that by the point ``B R``: everything is made of ``G = B.T B``.
    """
    whitened, local = residuals(problem, at)
    cost, root = robust(problem, whitened)
    gram, pull, by_focal, scale_pull = products(problem, at, whitened, local, root)
    frames, number = pull.shape[:2]
    rotation = at.cam_from_window[:, :3, :3]
    upper = cross(local, gram)  # (S, P, 3, 3): [p]x G
    cameras, gradient = np.zeros((6 * frames + 1, 6 * frames + 1)), np.zeros(6 * frames + 1)
    both = np.stack([upper, gram], axis=1)  # (S, 2, P, 3, 3)
    shifts = both.sum(axis=2)  # (S, 2, 3, 3)
    turns = both.transpose(0, 1, 3, 2, 4).reshape(frames, 6, -1) @ -cross_matrix(local).reshape(frames, -1, 3)
    along = np.concatenate([cross(local, scale_pull[..., None])[..., 0], scale_pull], axis=-1).sum(axis=1)
    slopes = np.concatenate([cross(local, pull[..., None])[..., 0], pull], axis=-1).sum(axis=1)
    for s in range(frames):
        own = slice(6 * s, 6 * s + 6)
        cameras[own, 6 * s : 6 * s + 3], cameras[own, 6 * s + 3 : 6 * s + 6] = turns[s], shifts[s].reshape(6, 3)
        cameras[-1, own] = cameras[own, -1] = along[s]
    gradient[:-1] = slopes.ravel()
    cameras[-1, -1], gradient[-1] = by_focal
    if np.isfinite(problem.focal_weight):
        cost += (problem.focal_weight * at.log_focal) ** 2
        cameras[-1, -1] += problem.focal_weight**2
        gradient[-1] += problem.focal_weight**2 * at.log_focal
    cost += add_priors(problem, at.cam_from_window, cameras, gradient)
    crossed = np.empty((6 * frames + 1, number, 3))
    turned = (both.reshape(frames, -1, 3) @ rotation).reshape(frames, 2, number, 3, 3)
    crossed[:-1] = turned.transpose(0, 1, 3, 2, 4).reshape(6 * frames, number, 3)
    crossed[-1] = (scale_pull @ rotation).sum(axis=0)
    points = np.tensordot(turned[:, 1], rotation, axes=([0, 2], [0, 1]))  # symmetric
    points += (POINT_DAMPING * np.trace(points, axis1=1, axis2=2)[:, None, None] + 1e-12) * np.eye(3)
    return Linear(replace(at, cost=cost), cameras, gradient, crossed, points, (pull @ rotation).sum(axis=0))


def residuals(problem: Problem, at: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Whitened (S, P, 3) in x, y and log depth, and the points (S, P, 3) in the cameras' frames."""
    pose = at.cam_from_window
    local = at.points @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]
    in_front = local[..., 2] > NEAREST
    z = np.where(in_front, local[..., 2], 1.0)
    whitened = np.empty_like(local)
    whitened[..., :2] = np.exp(at.log_focal) * local[..., :2] / z[..., None] - problem.seen.transpose(1, 0, 2)
    whitened[~in_front, :2] = BEHIND
    whitened[..., :2] *= problem.weight.T[..., None]
    whitened[..., 2] = np.where(in_front, np.log(z) - problem.log_depth.T, 0.0) * problem.depth_weight.T
    return whitened, local


def robust(problem: Problem, whitened: np.ndarray) -> tuple[float, np.ndarray]:
    """Cauchy's cost of all residuals, and their weights (S, P, 2): of the sight, of its depth."""
    squared = np.stack([np.square(whitened[..., :2]).sum(axis=-1), np.square(whitened[..., 2])], axis=-1)
    limits = np.array([problem.limit**2, DEPTH_LIMIT**2])
    ratio = squared / limits
    return float((limits * np.log1p(ratio)).sum()), 1 / (1 + ratio)


def products(
    problem: Problem, at: Solution, whitened: np.ndarray, local: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], np.ndarray]:
    """``B.T B`` (S, P, 3, 3), ``B.T r`` (S, P, 3), squares and slope of the focal length f, ``B.T df`` (S, P, 3)."""
    in_front = local[..., 2] > NEAREST
    z = np.where(in_front, local[..., 2], 1.0)
    x, y = local[..., 0] / z, local[..., 1] / z
    flat = in_front * problem.weight.T * np.exp(at.log_focal) / z
    deep = in_front * problem.depth_weight.T / z
    square, square_deep = weight[..., 0] * flat**2, weight[..., 1] * deep**2
    gram = np.zeros((*z.shape, 3, 3))
    gram[..., 0, 0] = gram[..., 1, 1] = square
    gram[..., 0, 2] = gram[..., 2, 0] = -square * x
    gram[..., 1, 2] = gram[..., 2, 1] = -square * y
    gram[..., 2, 2] = square * (x**2 + y**2) + square_deep
    u, v = (weight[..., 0] * flat * whitened[..., k] for k in (0, 1))
    pull = np.stack([u, v, weight[..., 1] * deep * whitened[..., 2] - u * x - v * y], axis=-1)
    by_focal = float((square * (x**2 + y**2) * z**2).sum()), float(((u * x + v * y) * z).sum())
    scale_pull = np.stack([square * x * z, square * y * z, -square * (x**2 + y**2) * z], axis=-1)
    return gram, pull, by_focal, scale_pull


def cross(vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) crossed with each column of (..., 3, N)."""
    x, y, z = (vectors[..., k, None] for k in range(3))
    a, b, c = (columns[..., k, :] for k in range(3))
    return np.stack([y * c - z * b, z * a - x * c, x * b - y * a], axis=-2)


def add_priors(problem: Problem, poses: np.ndarray, cameras: np.ndarray, gradient: np.ndarray) -> float:
    """Adds known relative poses to the normal equations; returns their cost."""
    cost = 0.0
    for prior in problem.known:
        i, j, white, known = prior.i, prior.j, prior.whitening, prior.i_from_j
        found = poses[i] @ inverse(poses[j])
        turn = vector_from_rotation(found[:3, :3] @ known[:3, :3].T)
        error = white @ np.concatenate([turn, found[:3, 3] - known[:3, 3]])
        by = np.zeros((6, cameras.shape[0]))
        by[:, 6 * i : 6 * i + 6] = np.eye(6)
        by[3:, 6 * i : 6 * i + 3] = -cross_matrix(found[:3, 3])
        by[:3, 6 * j : 6 * j + 3] = by[3:, 6 * j + 3 : 6 * j + 6] = -found[:3, :3]
        by = white @ by
        cameras += by.T @ by
        gradient += by.T @ error
        cost += float(error @ error)
    return cost


def eliminated(linear: Linear, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrix and gradient of the cameras without the points, and (P, 3, 3) inverses of the points' own."""
    own = linear.points.copy()
    own[:, range(3), range(3)] *= 1 + damping
    inverted = np.linalg.inv(own)
    size = len(linear.camera_gradient)
    weighted = (linear.crossed[:, :, None] @ inverted).reshape(size, -1)
    gradient = linear.camera_gradient - weighted @ linear.point_gradient.ravel()
    return linear.cameras - weighted @ linear.crossed.reshape(size, -1).T, gradient, inverted


def stepped(linear: Linear, damping: float, held: np.ndarray) -> Solution:
    """The state after one damped step of all that is not held."""
    matrix, gradient, inverted = eliminated(linear, damping)
    matrix = matrix[np.ix_(~held, ~held)]
    matrix[np.diag_indices_from(matrix)] += damping * linear.cameras.diagonal()[~held] + 1e-12
    step = np.zeros(len(held))
    step[~held] = -np.linalg.solve(matrix, gradient[~held])
    right = linear.point_gradient + np.tensordot(step, linear.crossed, axes=1)
    points = linear.at.points - (inverted @ right[..., None])[..., 0]
    turn, shift = step[:-1].reshape(-1, 2, 3).transpose(1, 0, 2)
    poses, rotation = linear.at.cam_from_window.copy(), rotation_from_vector(turn)
    poses[:, :3] = rotation @ poses[:, :3]
    poses[:, :3, 3] += shift
    return Solution(poses, points, linear.at.log_focal + step[-1])
