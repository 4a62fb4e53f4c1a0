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
ENOUGH = 1e-4  # relative decrease of the cost that is not worth another round
DEPTH_LIMIT = 2.0  # standard deviations of the network's depth where an outlier begins


@dataclass(frozen=True, eq=False)
class Linear:
    """The normal equations around a state."""

    at: Solution
    cameras: np.ndarray  # (6 S + 1,) squared
    camera_gradient: np.ndarray  # (6 S + 1,)
    crossed: np.ndarray  # (P, 6 S + 1, 3), cameras with points
    points: np.ndarray  # (P, 3, 3)
    point_gradient: np.ndarray  # (P, 3)


def adjust(problem: Problem, start: Solution, rounds: int) -> Solution:
    """At most so many steps downhill from ``start``."""
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
        if gained < ENOUGH:
            break
    information, gradient, _ = eliminated(best, 0.0)
    return replace(best.at, information=information, gradient=gradient, point_information=best.points)


def linearised(problem: Problem, at: Solution) -> Linear:
    """Cost and normal equations, each row weighted as Cauchy's cost wants it."""
    frames = problem.seen.shape[1]
    whitened, local = residuals(problem, at)
    cost, root = robust(problem, whitened)
    by_camera, by_point, by_focal = jacobians(problem, at, local, root)
    error = root * whitened
    columns = np.zeros((frames, 3 * len(at.points), 8))  # turn, shift, focal, error of each frame's rows
    for last, part in ((slice(0, 6), by_camera), (slice(6, 7), by_focal[..., None]), (slice(7, 8), error[..., None])):
        columns[..., last] = part.transpose(1, 0, 2, 3).reshape(frames, -1, part.shape[-1])
    products = columns.transpose(0, 2, 1) @ columns
    cameras, gradient = np.zeros((6 * frames + 1, 6 * frames + 1)), np.zeros(6 * frames + 1)
    for s, product in enumerate(products):
        own = slice(6 * s, 6 * s + 6)
        cameras[own, own], gradient[own] = product[:6, :6], product[:6, 7]
        cameras[-1, own] = cameras[own, -1] = product[:6, 6]
    cameras[-1, -1], gradient[-1] = products[:, 6, 6].sum(), products[:, 6, 7].sum()
    if np.isfinite(problem.focal_weight):
        cost += (problem.focal_weight * at.log_focal) ** 2
        cameras[-1, -1] += problem.focal_weight**2
        gradient[-1] += problem.focal_weight**2 * at.log_focal
    cost += add_priors(problem, at.cam_from_window, cameras, gradient)
    rows = by_point.reshape(len(at.points), -1, 3)
    crossed = np.empty((len(at.points), 6 * frames + 1, 3))
    crossed[:, :-1] = (by_camera.transpose(0, 1, 3, 2) @ by_point).reshape(len(at.points), -1, 3)
    crossed[:, -1] = (by_focal.reshape(len(at.points), 1, -1) @ rows)[:, 0]
    points = rows.transpose(0, 2, 1) @ rows
    points += (POINT_DAMPING * np.trace(points, axis1=1, axis2=2)[:, None, None] + 1e-12) * np.eye(3)
    point_gradient = (error.reshape(len(at.points), 1, -1) @ rows)[:, 0]
    return Linear(replace(at, cost=cost), cameras, gradient, crossed, points, point_gradient)


def residuals(problem: Problem, at: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Whitened (P, S, 3) in x, y and log depth, and the points (P, S, 3) in the cameras' frames."""
    pose = at.cam_from_window
    local = (at.points @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]).transpose(1, 0, 2)
    in_front = local[..., 2] > NEAREST
    z = np.where(in_front, local[..., 2], 1.0)
    whitened = np.empty_like(local)
    whitened[..., :2] = np.exp(at.log_focal) * local[..., :2] / z[..., None] - problem.seen
    whitened[~in_front, :2] = BEHIND
    whitened[..., :2] *= problem.weight[..., None]
    whitened[..., 2] = np.where(in_front, np.log(z) - problem.log_depth, 0.0) * problem.depth_weight
    return whitened, local


def robust(problem: Problem, whitened: np.ndarray) -> tuple[float, np.ndarray]:
    """Cauchy's cost of all residuals, and the square roots of their weights (P, S, 3)."""
    squared = np.stack([np.square(whitened[..., :2]).sum(axis=-1), np.square(whitened[..., 2])], axis=-1)
    limits = np.array([problem.limit**2, DEPTH_LIMIT**2])
    ratio = squared / limits
    return float((limits * np.log1p(ratio)).sum()), (1 / np.sqrt(1 + ratio))[..., (0, 0, 1)]


def jacobians(
    problem: Problem, at: Solution, local: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the weighted residuals, by turn and shift (P, S, 3, 6), by point (P, S, 3, 3), by focal length (P, S, 3)."""
    in_front = local[..., 2] > NEAREST
    z = np.where(in_front, local[..., 2], 1.0)
    flat = in_front * problem.weight * root[..., 0] * np.exp(at.log_focal) / z
    x, y = local[..., 0] / z, local[..., 1] / z
    by_camera, by_focal = np.zeros((*z.shape, 3, 6)), np.zeros((*z.shape, 3))
    by_camera[..., 0, 3] = by_camera[..., 1, 4] = flat
    by_camera[..., 0, 5], by_camera[..., 1, 5] = -flat * x, -flat * y
    by_camera[..., 2, 5] = in_front * problem.depth_weight * root[..., 2] / z
    by_camera[..., :3] = by_camera[..., 3:] @ -cross_matrix(local)
    by_focal[..., 0], by_focal[..., 1] = flat * local[..., 0], flat * local[..., 1]
    return by_camera, by_camera[..., 3:] @ at.cam_from_window[:, :3, :3], by_focal


def add_priors(problem: Problem, poses: np.ndarray, cameras: np.ndarray, gradient: np.ndarray) -> float:
    """Adds known relative poses to the normal equations; returns their cost."""
    cost = 0.0
    for (i, j), known, white in zip(
        problem.prior_pairs, problem.prior_i_from_j, problem.prior_whitening, strict=True
    ):
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
    weighted = linear.crossed @ inverted
    size = len(linear.camera_gradient)
    flat = weighted.transpose(1, 0, 2).reshape(size, -1)
    crossed = linear.crossed.transpose(1, 0, 2).reshape(size, -1)
    gradient = linear.camera_gradient - flat @ linear.point_gradient.ravel()
    return linear.cameras - flat @ crossed.T, gradient, inverted


def stepped(linear: Linear, damping: float, held: np.ndarray) -> Solution:
    """The state after one damped step of all that is not held."""
    matrix, gradient, inverted = eliminated(linear, damping)
    matrix = matrix[np.ix_(~held, ~held)]
    matrix[np.diag_indices_from(matrix)] += damping * linear.cameras.diagonal()[~held] + 1e-12
    step = np.zeros(len(held))
    step[~held] = -np.linalg.solve(matrix, gradient[~held])
    right = linear.point_gradient + np.einsum("pki,k->pi", linear.crossed, step)
    points = linear.at.points - (inverted @ right[..., None])[..., 0]
    turn, shift = step[:-1].reshape(-1, 2, 3).transpose(1, 0, 2)
    poses, rotation = linear.at.cam_from_window.copy(), rotation_from_vector(turn)
    poses[:, :3] = rotation @ poses[:, :3]
    poses[:, :3, 3] += shift
    return Solution(poses, points, linear.at.log_focal + step[-1])
