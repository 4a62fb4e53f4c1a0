"""What moves before a plane: two motions may explain its sights alike, and only one has the depth that one sees."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..tracking.observations import Observations
from .estimate import PROMISING, THOROUGH_ROUNDS, Estimate, estimated
from .rotations import inverse, turn_between
from .start import Start

APART = np.radians(0.3)  # median angle between the turns of two motions that are not the same one
CLEARER = 1.5  # times the spread of depths against the network's that the other motion has at least
BLIND = 0.5  # spread at which the network has not seen the depth; windows of its own have 0.32 at most


def told_apart(found: Estimate, sights: Observations, starts: Iterable[Start]) -> Estimate | None:
    """Of the motions that a plane allows the one whose depth the network sees; None: it sees both alike or neither, or
    nobody knows the other one.

    ``starts``: as of `start.plane_starts`.
    """
    others = [e for start in starts if (e := estimated(sights, start, THOROUGH_ROUNDS)) is not None]
    if not others:
        return None
    rivals = [found, *(other for other in others if other.cost < PROMISING * found.cost)]
    best = min(rivals, key=depth_spread)
    if depth_spread(best) > BLIND:
        return None
    if any(are_apart(best, rival) and depth_spread(rival) < CLEARER * depth_spread(best) for rival in rivals):
        return None
    return best


def depth_spread(found: Estimate) -> float:
    """Median deviation of the logarithms of the points' depths over the network's, whatever the unit."""
    both = found.fits & (found.depths > 0) & (found.sights.depth > 0)
    if not both.any():
        return np.inf
    ratio = np.log(found.depths[both] / found.sights.depth[both])
    return float(np.median(np.abs(ratio - np.median(ratio))))


def are_apart(a: Estimate, b: Estimate) -> bool:
    """Whether two motions turn the frames that both place in different ways."""
    placed = sorted(set(a.placed) & set(b.placed))
    turned = [e.solution.cam_from_window[placed] @ inverse(e.solution.cam_from_window[placed[:1]]) for e in (a, b)]
    return bool(np.median(turn_between(turned[0][1:, :3, :3], turned[1][1:, :3, :3])) > APART)
