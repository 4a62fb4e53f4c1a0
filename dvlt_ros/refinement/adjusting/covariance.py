"""How exactly the tracks tell the poses."""

from __future__ import annotations

import numpy as np

from ..arrays import median
from ..window import MotionDeviation
from .estimate import Estimate
from .rotations import inverse, relative_jacobian

LEAST_INFORMATION = 1e-9  # of the sum of the eigenvalues; what is told less is not told
# Errors that are real over those that the sights' noise explains: rolling shutters, lenses and tracks that drift
# together are no noise. What 68 % of the components keep, by benchmarks/pose_covariance.py.
TURN_FACTOR, SHIFT_FACTOR = 10.0, 8.5
SHORT = 0.1  # of the longest shift; between frames that are no farther apart no direction is looked at


def pose_covariances(found: Estimate) -> np.ndarray:
    """(S, 6, 6) of each camera's turn (rad) and shift (window unit) in its own frame, against the reference.

    Points and, where it is free, the focal length are marginalised out. 0 for the reference, NaN for frames that
    are not placed. The adjustment's weights are inverse deviations as the sights have shown them, so that no factor
    is left to estimate; outliers have lost their weight.
    """
    information, frames = found.solution.information, found.sights.mask.shape[1]
    result = np.full((frames, 6, 6), np.nan)
    result[found.reference] = 0.0
    free = [s for s in found.placed if s != found.reference]
    rows = np.concatenate([np.arange(6 * s, 6 * s + 6) for s in free])
    if found.solution.log_focal:  # it was let go
        rows = np.append(rows, 6 * frames)
    covariance = inverted(information[np.ix_(rows, rows)])
    for k, s in enumerate(free):
        result[s] = covariance[6 * k : 6 * k + 6, 6 * k : 6 * k + 6]
    return result


def joint_covariance(found: Estimate) -> np.ndarray:
    """(6 S, 6 S) of all cameras' turns and shifts with the unit of length held; 0 of those that stay as they are."""
    poses = found.cam_from_reference
    free = np.concatenate([np.arange(6 * s, 6 * s + 6) for s in found.placed if s != found.reference])
    longer = np.concatenate([np.zeros((len(poses), 3)), poses[:, :3, 3]], axis=1).ravel()[free]
    information = found.solution.information[np.ix_(free, free)]
    information = information + np.outer(longer, longer) * (np.trace(information) / max(longer @ longer, 1e-12))
    covariance = np.zeros((6 * len(poses), 6 * len(poses)))
    covariance[np.ix_(free, free)] = inverted(information)
    return covariance


def relative_covariances(joint: np.ndarray, i_from_j: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """(K, 6, 6) of turn and shift of frames ``j`` in frames ``i``; ``joint`` as of `joint_covariance`."""
    own = np.arange(6)
    both = np.concatenate([6 * i[:, None] + own, 6 * j[:, None] + own], axis=1)
    by = relative_jacobian(i_from_j)
    return by @ joint[both[:, :, None], both[:, None]] @ by.transpose(0, 2, 1)


def motion_deviation(found: Estimate, joint: np.ndarray, first: int, last: int) -> MotionDeviation | None:
    """How exactly two frames' relative pose is known, with errors as large as they really are; None: not both are.

    ``joint``: as of `joint_covariance`.
    """
    if first == last or not {first, last} <= set(found.placed):
        return None
    poses = found.solution.cam_from_window
    between = (poses[first] @ inverse(poses[last]))[None]
    covariance = relative_covariances(joint, between, np.array([first]), np.array([last]))[0]
    depths = found.depths[found.fits & (found.depths > 0)]
    if not len(depths):
        return None
    turn, shift = (float(np.sqrt(np.trace(part) / 3)) for part in (covariance[:3, :3], covariance[3:, 3:]))
    return MotionDeviation(TURN_FACTOR * turn, SHIFT_FACTOR * shift / median(depths))


def direction_deviation(found: Estimate) -> float:
    """Standard deviation in radians of the direction in which one placed frame lies from another, with errors as large
    as they really are, at most a right angle: the median over the pairs that are not close together; 0 if none is."""
    first, second = (np.array(found.placed)[index] for index in np.triu_indices(len(found.placed), 1))
    poses = found.cam_from_reference
    between = poses[first] @ inverse(poses[second])
    length = np.maximum(np.linalg.norm(between[:, :3, 3], axis=1), 1e-12)
    way = between[:, :3, 3] / length[:, None]
    covariance = relative_covariances(joint_covariance(found), between, first, second)[:, 3:, 3:]
    along = (way[:, None] @ covariance @ way[..., None])[:, 0, 0]
    across = np.trace(covariance, axis1=1, axis2=2) - along  # of two axes
    apart = length > max(SHORT * length.max(), 1e-9)
    if not apart.any():
        return 0.0
    return min(SHIFT_FACTOR * median(np.sqrt(np.maximum(across[apart], 0.0) / 2) / length[apart]), np.pi / 2)


def inverted(information: np.ndarray) -> np.ndarray:
    """A covariance; what is hardly told has a large one, but a finite one."""
    held = LEAST_INFORMATION * float(np.trace(information)) * np.eye(len(information))
    covariance: np.ndarray = np.linalg.inv(information + held)
    return covariance


def focal_estimate(found: Estimate) -> tuple[float, float]:
    """Logarithm of what the tracks would multiply the focal length by, and its standard deviation.

    One Newton step from the solution, all poses and points going along: no second adjustment is needed to see
    that an intrinsic matrix is wrong.
    """
    frames = found.sights.mask.shape[1]
    rows = np.concatenate([np.arange(6 * s, 6 * s + 6) for s in found.placed if s != found.reference])
    rows = np.append(rows, 6 * frames)
    information = found.solution.information[np.ix_(rows, rows)]
    information[np.diag_indices_from(information)] *= 1 + LEAST_INFORMATION
    told = np.linalg.solve(information, np.stack([found.solution.gradient[rows], np.eye(len(rows))[-1]], axis=1))[-1]
    return found.solution.log_focal - float(told[0]), float(np.sqrt(max(told[1], 0.0)))
