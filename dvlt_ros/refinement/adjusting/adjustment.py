"""Robust bundle adjustment of few cameras and some hundred points (Triggs et al., Bundle Adjustment, 2000).

Levenberg-Marquardt with analytic Jacobians; the points leave the normal equations by the Schur complement. All
observations lie in dense planes of frames by points, each a component of its own, so that a window of eight cameras
costs a few dozen array operations and no Jacobian of points is ever built. A step turns and shifts each camera on the
left: ``cam_from_window`` becomes ``exp(turn, shift) @ cam_from_window``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .cholesky import cholesky, lower_solved, upper_solved
from .problem import Problem, Solution
from .rotations import inverse, relative_jacobian, rotation_from_vector, vector_from_rotation

NEAREST = 1e-6  # depth in the window's unit; what is closer lies behind the camera
BEHIND = 10.0  # residual in normalised coordinates of a point behind the camera
POINT_DAMPING = 1e-9  # of a point's own information, so that one without parallax has an inverse
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-9, 1e6
ENOUGH = 3e-4  # relative decrease of the cost that is not worth another round
DEPTH_LIMIT = 2.0  # standard deviations of the network's depth where an outlier begins


@dataclass(frozen=True, eq=False)
class Planes:
    """A problem's sights as planes (S, P)."""

    problem: Problem
    u: np.ndarray
    v: np.ndarray
    weight: np.ndarray
    log_depth: np.ndarray
    depth_weight: np.ndarray
    known_frames: np.ndarray  # (K, 2), of the known relative poses
    known_poses: np.ndarray  # (K, 4, 4)
    whitening: np.ndarray  # (K, 6, 6)

    @classmethod
    def of(cls, problem: Problem) -> Planes:
        known = problem.known
        return cls(
            problem,
            u=np.ascontiguousarray(problem.seen[..., 0].T),
            v=np.ascontiguousarray(problem.seen[..., 1].T),
            weight=np.ascontiguousarray(problem.weight.T),
            log_depth=np.ascontiguousarray(problem.log_depth.T),
            depth_weight=np.ascontiguousarray(problem.depth_weight.T),
            known_frames=np.array([(pose.i, pose.j) for pose in known], dtype=int).reshape(-1, 2),
            known_poses=np.array([pose.i_from_j for pose in known]),
            whitening=np.array([pose.whitening for pose in known]),
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """The normal equations around a state."""

    at: Solution
    cameras: np.ndarray  # (6 S + 1,) squared: turn and shift by frame, logarithm of the focal length
    camera_gradient: np.ndarray  # (6 S + 1,)
    crossed: np.ndarray  # (6 S + 1, 3, P), cameras with points
    points: np.ndarray  # (3, 3, P)
    point_gradient: np.ndarray  # (3, P)


def adjust(problem: Problem, start: Solution, rounds: int, enough: float = ENOUGH) -> Solution:
    """At most so many steps downhill from ``start``, and none after one that gains less than ``enough`` of the cost."""
    held = np.zeros(6 * problem.seen.shape[1] + 1, dtype=bool)
    held[6 * problem.reference : 6 * problem.reference + 6] = True
    held[-1] = np.isinf(problem.focal_weight)
    planes = Planes.of(problem)
    best, damping = linearised(planes, start), FIRST_DAMPING
    for _ in range(rounds):
        while damping <= MOST_DAMPING:
            tried = linearised(planes, stepped(best, damping, held))
            if tried.at.cost < best.at.cost:
                break
            damping *= 10
        else:
            break
        gained = 1 - tried.at.cost / best.at.cost
        best, damping = tried, max(damping / 10, LEAST_DAMPING)
        if gained < enough:
            break
    information, gradient, _, _ = eliminated(best, 0.0)
    return replace(best.at, information=information, gradient=gradient)


def linearised(planes: Planes, at: Solution) -> Linear:
    """Cost and normal equations, each row weighted as Cauchy's cost wants it.

    With B (3, 3) the Jacobian of a sight's residuals by the camera's shift, that by its turn is ``-B [p]x`` at the
    point p in its frame, and that by the point ``B R``.
    """
    problem, pose = planes.problem, at.cam_from_window
    to_window, focal = pose[:, :3, :3].transpose(0, 2, 1), np.exp(at.log_focal)
    local = to_window.transpose(0, 2, 1) @ at.points.T + pose[:, :3, 3:]  # (S, 3, P)
    front = local[:, 2] > NEAREST
    near = 1 / np.where(front, local[:, 2], 1.0)
    x, y = local[:, 0] * near, local[:, 1] * near
    errors = np.stack([focal * x - planes.u, focal * y - planes.v, -np.log(near) - planes.log_depth], axis=1)
    if not front.all():
        errors[:, :2][~front[:, None].repeat(2, axis=1)] = BEHIND
        errors[:, 2][~front] = 0.0
    errors[:, :2] *= planes.weight[:, None]
    errors[:, 2] *= planes.depth_weight
    cost, flat, deep = robust(errors, problem.limit)  # errors are weighted now
    flat *= front * planes.weight * focal
    deep *= front * planes.depth_weight
    jacobian = camera_jacobian(x, y, near, flat, deep)  # (S, 7, 3, P)
    frames, number = x.shape
    rows = jacobian.reshape(frames, 7, -1)
    squares, slopes = rows @ rows.transpose(0, 2, 1), (rows @ errors.reshape(frames, -1, 1))[..., 0]
    cameras, gradient = np.zeros((6 * frames + 1, 6 * frames + 1)), np.zeros(6 * frames + 1)
    for s in range(frames):
        own = slice(6 * s, 6 * s + 6)
        cameras[own, own], cameras[-1, own], cameras[own, -1] = squares[s, :6, :6], squares[s, 6, :6], squares[s, :6, 6]
    gradient[:-1] = slopes[:, :6].ravel()
    cameras[-1, -1], gradient[-1] = squares[:, 6, 6].sum(), slopes[:, 6].sum()
    if np.isfinite(problem.focal_weight):
        cost += (problem.focal_weight * at.log_focal) ** 2
        cameras[-1, -1] += problem.focal_weight**2
        gradient[-1] += problem.focal_weight**2 * at.log_focal
    cost += add_priors(planes, pose, cameras, gradient)
    by_point = (to_window @ rows[:, 3:6]).reshape(frames, 3, 3, number)  # B R: (S, coordinate, row, P)
    crossed = np.empty((6 * frames + 1, 3, number))
    by_frame = crossed[:-1].reshape(frames, 6, 3, number)
    cross_with_points(by_frame, crossed[-1], jacobian, by_point, local)
    points = (to_window @ by_frame[:, 3:].reshape(frames, 3, -1)).sum(axis=0).reshape(3, 3, number)
    points[range(3), range(3)] += POINT_DAMPING * np.trace(points) + 1e-12
    pull = (by_point * errors[:, None]).sum(axis=(0, 2))
    return Linear(replace(at, cost=cost), cameras, gradient, crossed, points, pull)


def robust(errors: np.ndarray, limit: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Cauchy's cost of weighted errors (S, 3, P), which get their roots of weights, and these (S, P): image, depth."""
    squared, deep = np.square(errors[:, :2]).sum(axis=1), np.square(errors[:, 2])
    squared /= limit**2
    deep /= DEPTH_LIMIT**2
    cost = limit**2 * float(np.log1p(squared).sum()) + DEPTH_LIMIT**2 * float(np.log1p(deep).sum())
    roots = 1 / np.sqrt(1 + squared), 1 / np.sqrt(1 + deep)
    errors[:, :2] *= roots[0][:, None]
    errors[:, 2] *= roots[1]
    return cost, *roots


def camera_jacobian(x: np.ndarray, y: np.ndarray, near: np.ndarray, flat: np.ndarray, deep: np.ndarray) -> np.ndarray:
    """(S, 7, 3, P): of both coordinates and the depth's logarithm by turn, shift and the focal length's logarithm."""
    result = np.zeros((len(x), 7, 3, x.shape[1]))
    flat_x, flat_y, flat_near = flat * x, flat * y, flat * near
    result[:, 1, 1] = flat_x * y
    result[:, 0, 0] = -result[:, 1, 1]
    result[:, 1, 0] = flat + flat_x * x
    result[:, 0, 1] = -flat - flat_y * y
    result[:, 2, 0], result[:, 2, 1] = -flat_y, flat_x
    result[:, 0, 2], result[:, 1, 2] = deep * y, -deep * x
    result[:, 3, 0] = result[:, 4, 1] = flat_near
    result[:, 5, 0], result[:, 5, 1], result[:, 5, 2] = -flat_near * x, -flat_near * y, deep * near
    result[:, 6, 0], result[:, 6, 1] = flat_x, flat_y
    return result


def cross_with_points(
    cameras: np.ndarray, focal: np.ndarray, jacobian: np.ndarray, by_point: np.ndarray, local: np.ndarray
) -> None:
    """Fills ``cameras`` (S, 6, 3, P) and ``focal`` (3, P) with the products of their Jacobians and the points'."""
    x, y, z = (local[:, k, None] for k in range(3))
    a, b, c = cameras[:, 3], cameras[:, 4], cameras[:, 5]  # by shift: B.T B R
    np.multiply(jacobian[:, 3, 0, None], by_point[:, :, 0], out=a)
    np.multiply(jacobian[:, 4, 1, None], by_point[:, :, 1], out=b)
    np.multiply(jacobian[:, 5, 2, None], by_point[:, :, 2], out=c)
    ahead = x * a + y * b
    np.sum(ahead, axis=0, out=focal)
    front = np.where(z > NEAREST, z, 1.0)
    c -= ahead / front
    cameras[:, 0], cameras[:, 1], cameras[:, 2] = y * c - z * b, z * a - x * c, x * b - y * a


def add_priors(planes: Planes, poses: np.ndarray, cameras: np.ndarray, gradient: np.ndarray) -> float:
    """Adds known relative poses to the normal equations; returns their cost."""
    if not planes.problem.known:
        return 0.0
    first, second = planes.known_frames.T
    found = poses[first] @ inverse(poses[second])
    error = np.empty((len(found), 6))
    error[:, :3] = vector_from_rotation(found[:, :3, :3] @ planes.known_poses[:, :3, :3].transpose(0, 2, 1))
    error[:, 3:] = found[:, :3, 3] - planes.known_poses[:, :3, 3]
    by = planes.whitening @ relative_jacobian(found)
    error = (planes.whitening @ error[..., None])[..., 0]
    information, slopes = by.transpose(0, 2, 1) @ by, (error[:, None] @ by)[:, 0]
    for frames, block, slope in zip(planes.known_frames.tolist(), information, slopes, strict=True):
        for k, a in enumerate(frames):
            rows = slice(6 * a, 6 * a + 6)
            gradient[rows] += slope[6 * k : 6 * k + 6]
            for n, b in enumerate(frames):
                cameras[rows, 6 * b : 6 * b + 6] += block[6 * k : 6 * k + 6, 6 * n : 6 * n + 6]
    return float(np.square(error).sum())


def eliminated(linear: Linear, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matrix and gradient of the cameras without the points; the points' own roots (3, 3, P), and their slopes by it.

    The root of a point's information is its Cholesky factor L; ``crossed`` and its gradient are divided by it.
    """
    own = linear.points.copy()
    own[range(3), range(3)] *= 1 + damping
    root = cholesky(own)
    whitened, slope = lower_solved(root, linear.crossed), lower_solved(root, linear.point_gradient)
    flat = whitened.reshape(len(whitened), -1)
    return linear.cameras - flat @ flat.T, linear.camera_gradient - flat @ slope.ravel(), root, slope


def stepped(linear: Linear, damping: float, held: np.ndarray) -> Solution:
    """The state after one damped step of all that is not held."""
    matrix, gradient, root, slope = eliminated(linear, damping)
    free = np.flatnonzero(~held)
    matrix = matrix[np.ix_(free, free)]
    matrix[np.diag_indices_from(matrix)] += damping * linear.cameras.diagonal()[free] + 1e-12
    step = np.zeros(len(held))
    step[free] = -np.linalg.solve(matrix, gradient[free])
    moved = (step @ linear.crossed.reshape(len(step), -1)).reshape(slope.shape)
    points = linear.at.points - upper_solved(root, slope + lower_solved(root, moved)).T
    turn, shift = step[:-1].reshape(-1, 2, 3).transpose(1, 0, 2)
    poses, rotation = linear.at.cam_from_window.copy(), rotation_from_vector(turn)
    poses[:, :3] = rotation @ poses[:, :3]
    poses[:, :3, 3] += shift
    return Solution(poses, points, linear.at.log_focal + step[-1])
