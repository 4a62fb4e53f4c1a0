"""Robust bundle adjustment of few cameras and some hundred points (Triggs et al., Bundle Adjustment, 2000).

Levenberg-Marquardt with analytic Jacobians; the points leave the normal equations by the Schur complement. All
observations lie in dense planes of frames by points, each a component of its own, so that a window of eight cameras
costs a few dozen array operations and no Jacobian of points is ever built. A step turns and shifts each camera on the
left: ``cam_from_window`` becomes ``exp(turn, shift) @ cam_from_window``.
"""

from __future__ import annotations

from collections.abc import Sequence
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
class Evaluated:
    """A state, its cost, and its residuals, each weighted as Cauchy's cost wants it."""

    at: Solution
    local: np.ndarray  # (S, 3, P) points in the cameras' frames
    x: np.ndarray  # (S, P), as y and near: coordinates in the image and inverse depth
    y: np.ndarray
    near: np.ndarray
    errors: np.ndarray  # (S, 3, P) of both coordinates and the depth's logarithm
    flat: np.ndarray  # (S, P) weight of the coordinates, 0 behind the camera
    deep: np.ndarray  # (S, P) weight of the depth's logarithm
    priors: tuple[np.ndarray, np.ndarray] | None  # as of `prior_errors`


@dataclass(frozen=True, eq=False)
class Linear:
    """The normal equations around a state."""

    at: Solution
    cameras: np.ndarray  # (6 S + 1,) squared: turn and shift by frame, logarithm of the focal length
    camera_gradient: np.ndarray  # (6 S + 1,)
    crossed: np.ndarray  # (6 S + 1, 3, P), cameras with points
    points: np.ndarray  # (3, 3, P)
    point_gradient: np.ndarray  # (3, P)


def adjust(
    problem: Problem, start: Solution, rounds: int, enough: float = ENOUGH, with_information: bool = False
) -> Solution:
    """At most so many steps downhill from ``start``, and none after one that gains less than ``enough`` of the cost.

    ``with_information``: the solution tells its normal equations.
    """
    held = np.zeros(6 * problem.seen.shape[1] + 1, dtype=bool)
    held[6 * problem.reference : 6 * problem.reference + 6] = True
    held[-1] = np.isinf(problem.focal_weight)
    planes, free = Planes.of(problem), np.flatnonzero(~held)
    best, damping, linear = evaluated(planes, start), FIRST_DAMPING, None
    for _ in range(rounds):
        linear = linearised(planes, best)
        while damping <= MOST_DAMPING:
            tried = evaluated(planes, stepped(linear, damping, free))
            if tried.at.cost < best.at.cost:
                break
            damping *= 10
        else:
            break
        gained = 1 - tried.at.cost / best.at.cost
        best, damping = tried, max(damping / 10, LEAST_DAMPING)
        if gained < enough:
            break
    if not with_information:
        return best.at
    information, gradient, _, _ = eliminated(linear or linearised(planes, best), 0.0)
    return replace(best.at, information=information, gradient=gradient)


def resected(problem: Problem, start: Solution, limits: Sequence[float]) -> Solution:
    """Each frame's pose by itself, the points stay: one Gauss-Newton step for each limit where outliers begin."""
    at, planes = start, Planes.of(problem)
    for limit in limits:
        state = evaluated(replace(planes, problem=replace(problem, limit=limit)), at)
        jacobian = camera_jacobian(state.x, state.y, state.near, state.flat, state.deep)
        rows = jacobian.reshape(len(state.x), 7, -1)[:, :6]
        information = rows @ rows.transpose(0, 2, 1) * (1 + FIRST_DAMPING * np.eye(6)) + 1e-12 * np.eye(6)
        step = -np.linalg.solve(information, rows @ state.errors.reshape(len(state.x), -1, 1))[..., 0]
        at = replace(at, cam_from_window=moved_poses(at.cam_from_window, step))
    return at


def evaluated(planes: Planes, at: Solution) -> Evaluated:
    """The state with its cost."""
    problem, pose = planes.problem, at.cam_from_window
    local = pose[:, :3, :3] @ at.points.T + pose[:, :3, 3:]
    near, factor = local[:, 2], float(np.exp(at.log_focal))
    front = near > NEAREST
    all_in_front = bool(front.all())
    near = 1 / (near if all_in_front else np.where(front, near, 1.0))
    x, y = local[:, 0] * near, local[:, 1] * near
    errors = np.empty_like(local)
    errors[:, 0], errors[:, 1] = factor * x - planes.u, factor * y - planes.v
    np.log(near, out=errors[:, 2])
    errors[:, 2] += planes.log_depth
    errors[:, 2] *= -planes.depth_weight
    flat, deep = planes.weight, planes.depth_weight
    if not all_in_front:
        errors[:, :2][~front[:, None].repeat(2, axis=1)] = BEHIND
        errors[:, 2][~front] = 0.0
    errors[:, :2] *= flat[:, None]
    cost, near_limit, near_depth = robust(errors, problem.limit)
    flat, deep = factor * flat * near_limit, deep * near_depth
    if not all_in_front:
        flat *= front
        deep *= front
    if np.isfinite(problem.focal_weight):
        cost += (problem.focal_weight * at.log_focal) ** 2
    priors = prior_errors(planes, pose) if problem.known else None
    if priors is not None:
        cost += float(np.square(priors[1]).sum())
    at = Solution(pose, at.points, at.log_focal, cost)
    return Evaluated(at, local, x, y, near, errors, flat, deep, priors)


def robust(errors: np.ndarray, limit: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Cauchy's cost of weighted errors (S, 3, P), which get their roots of weights, and these (S, P): image, depth."""
    squared = np.square(errors)
    apart, deep = (squared[:, 0] + squared[:, 1]) / limit**2, squared[:, 2] / DEPTH_LIMIT**2
    cost = limit**2 * float(np.log1p(apart).sum()) + DEPTH_LIMIT**2 * float(np.log1p(deep).sum())
    roots = 1 / np.sqrt(1 + apart), 1 / np.sqrt(1 + deep)
    errors[:, :2] *= roots[0][:, None]
    errors[:, 2] *= roots[1]
    return cost, *roots


def linearised(planes: Planes, state: Evaluated) -> Linear:
    """Its normal equations.

    With B (3, 3) the Jacobian of a sight's residuals by the camera's shift, that by its turn is ``-B [p]x`` at the
    point p in its frame, and that by the point ``B R``.
    """
    problem, pose = planes.problem, state.at.cam_from_window
    to_window = pose[:, :3, :3].transpose(0, 2, 1)
    jacobian = camera_jacobian(state.x, state.y, state.near, state.flat, state.deep)  # (S, 7, 3, P)
    frames, number = state.x.shape
    rows = jacobian.reshape(frames, 7, -1)
    squares, slopes = rows @ rows.transpose(0, 2, 1), (rows @ state.errors.reshape(frames, -1, 1))[..., 0]
    cameras, gradient = np.zeros((6 * frames + 1, 6 * frames + 1)), np.zeros(6 * frames + 1)
    for s in range(frames):
        own = slice(6 * s, 6 * s + 6)
        cameras[own, own], cameras[-1, own], cameras[own, -1] = squares[s, :6, :6], squares[s, 6, :6], squares[s, :6, 6]
    gradient[:-1] = slopes[:, :6].ravel()
    cameras[-1, -1], gradient[-1] = squares[:, 6, 6].sum(), slopes[:, 6].sum()
    if np.isfinite(problem.focal_weight):
        cameras[-1, -1] += problem.focal_weight**2
        gradient[-1] += problem.focal_weight**2 * state.at.log_focal
    if state.priors is not None:
        add_priors(planes, *state.priors, cameras, gradient)
    by_point = (to_window @ rows[:, 3:6]).reshape(frames, 3, 3, number)  # B R: (S, coordinate, row, P)
    crossed = np.empty((6 * frames + 1, 3, number))
    by_frame = crossed[:-1].reshape(frames, 6, 3, number)
    cross_with_points(by_frame, crossed[-1], jacobian, by_point, state.local)
    points = (to_window @ by_frame[:, 3:].reshape(frames, 3, -1)).sum(axis=0).reshape(3, 3, number)
    diagonal = points.reshape(9, number)[::4]
    diagonal += POINT_DAMPING * diagonal.sum(axis=0) + 1e-12
    pull = (by_point * state.errors[:, None]).sum(axis=(0, 2))
    return Linear(state.at, cameras, gradient, crossed, points, pull)


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


def prior_errors(planes: Planes, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative poses (K, 4, 4) that others are known for, and their whitened errors (K, 6)."""
    first, second = planes.known_frames.T
    found = poses[first] @ inverse(poses[second])
    error = np.empty((len(found), 6, 1))
    error[:, :3, 0] = vector_from_rotation(found[:, :3, :3] @ planes.known_poses[:, :3, :3].transpose(0, 2, 1))
    error[:, 3:, 0] = found[:, :3, 3] - planes.known_poses[:, :3, 3]
    return found, (planes.whitening @ error)[..., 0]


def add_priors(planes: Planes, found: np.ndarray, error: np.ndarray, cameras: np.ndarray, gradient: np.ndarray) -> None:
    """Adds known relative poses to the normal equations; ``found`` and ``error`` as of `prior_errors`."""
    by = planes.whitening @ relative_jacobian(found)
    information, slopes = by.transpose(0, 2, 1) @ by, (error[:, None] @ by)[:, 0]
    for frames, block, slope in zip(planes.known_frames.tolist(), information, slopes, strict=True):
        for k, a in enumerate(frames):
            rows = slice(6 * a, 6 * a + 6)
            gradient[rows] += slope[6 * k : 6 * k + 6]
            for n, b in enumerate(frames):
                cameras[rows, 6 * b : 6 * b + 6] += block[6 * k : 6 * k + 6, 6 * n : 6 * n + 6]


def eliminated(linear: Linear, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matrix and gradient of the cameras without the points; the points' own roots (3, 3, P), and their slopes by it.

    The root of a point's information is its Cholesky factor L; ``crossed`` and its gradient are divided by it.
    """
    own = linear.points.copy()
    own.reshape(9, -1)[::4] *= 1 + damping
    root = cholesky(own)
    whitened, slope = lower_solved(root, linear.crossed), lower_solved(root, linear.point_gradient)
    flat = whitened.reshape(len(whitened), -1)
    return linear.cameras - flat @ flat.T, linear.camera_gradient - flat @ slope.ravel(), root, slope


def stepped(linear: Linear, damping: float, free: np.ndarray) -> Solution:
    """The state after one damped step of the ``free`` cameras' unknowns, by index, and of the points."""
    matrix, gradient, root, slope = eliminated(linear, damping)
    matrix.reshape(-1)[:: len(matrix) + 1] += damping * linear.cameras.diagonal() + 1e-12
    step = np.zeros(len(matrix))
    step[free] = -np.linalg.solve(matrix[free[:, None], free], gradient[free])
    moved = (step @ linear.crossed.reshape(len(step), -1)).reshape(slope.shape)
    points = linear.at.points - upper_solved(root, slope + lower_solved(root, moved)).T
    poses = moved_poses(linear.at.cam_from_window, step[:-1].reshape(-1, 6))
    return Solution(poses, points, linear.at.log_focal + step[-1])


def moved_poses(cam_from_window: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Poses (S, 4, 4), each turned and shifted by its step (S, 6)."""
    poses = cam_from_window.copy()
    poses[:, :3] = rotation_from_vector(step[:, :3]) @ poses[:, :3]
    poses[:, :3, 3] += step[:, 3:]
    return poses
