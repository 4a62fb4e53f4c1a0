"""Whether a motion that only its own window's tracks have told is to be believed.

A wrong motion may leave as few pixels as the right one, and more of the sights than another. What gives it away is that
another one does nearly as well, that a small error of the tracks would make it another one, or that it is far from what
any network sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .adjusting.covariance import direction_deviation
from .adjusting.estimate import Estimate
from .adjusting.rotations import inverse, turn_between

# Decided on windows like those of the frozen benchmark. `benchmarks/refinement.py --others 60`: right motions turn by
# at most 17 degrees from the network's, and the only one that turns by more is wrong.
STRANGE_TURN = np.radians(20.0)  # median angle between the turns of a motion and the network's
CLEAR_SHARE = 0.85  # of the sights that fit: so many are believed, whatever the network says
RIVAL = 1.15  # times the cost that another motion has at most
APART = np.radians(25.0)  # median angle between the directions of two motions that are not the same one
# `--others 200`: nine windows are above these limits; adjusted, five have better poses, seven have worse depth.
MOST_OPEN, MOST_OPEN_IN_PART = np.radians(13.0), np.radians(8.0)  # deviation of directions; where frames are not placed
NEARLY = np.radians(1.5)  # that the network's own poses leave: where less, it is rather right than either of the two


def doubtful(
    found: Estimate, rivals: Sequence[Estimate], network: np.ndarray, network_residual_px: float, followed: bool
) -> str:
    """Why a motion is not to be believed; empty: it is.

    Args:
        rivals: what other starts have led to. network: its cam_from_window (S, 4, 4).
        network_residual_px: what those poses leave.
        followed: the tracks are flow, not matches.
    """
    own, theirs = between(found.solution.cam_from_window, found.placed), between(network, found.placed)
    turned = float(np.median(turn_between(own[:, :3, :3], theirs[:, :3, :3])))
    share = f"{found.inlier_share:.0%} of the sights fit"
    if turned > STRANGE_TURN and found.inlier_share < CLEAR_SHARE:
        return f"{share} a motion that turns by {np.degrees(turned):.0f} degrees from the network's"
    most = MOST_OPEN if len(found.placed) == len(network) else MOST_OPEN_IN_PART
    contradicts = not followed or directions_apart(own, theirs) > APART
    if contradicts and found.sights.known_depth is None and (open_by := direction_deviation(found)) > most:
        return f"the tracks leave the direction of motion open by {np.degrees(open_by):.0f} degrees"
    if network_residual_px > NEARLY * found.sights.focal:
        return ""
    for rival in rivals:
        if rival.placed != found.placed or rival.cost > RIVAL * found.cost:
            continue
        apart = directions_apart(own, between(rival.solution.cam_from_window, found.placed))
        if apart > APART:
            other = f"another one, {np.degrees(apart):.0f} degrees apart, is fitted by {rival.inlier_share:.0%}"
            return f"{share} one motion, {other}"
    return ""


def between(cam_from_window: np.ndarray, placed: Sequence[int]) -> np.ndarray:
    """Relative poses (K, 4, 4) of all pairs of placed frames."""
    poses = cam_from_window[list(placed)]
    first, second = np.triu_indices(len(poses), 1)
    relative: np.ndarray = poses[first] @ inverse(poses[second])
    return relative


def directions_apart(a: np.ndarray, b: np.ndarray) -> float:
    """Median angle in radians between the shifts of relative poses (K, 4, 4)."""
    ways = [
        poses[:, :3, 3] / np.maximum(np.linalg.norm(poses[:, :3, 3], axis=1, keepdims=True), 1e-12) for poses in (a, b)
    ]
    return float(np.median(np.arccos(np.clip((ways[0] * ways[1]).sum(axis=1), -1, 1))))
