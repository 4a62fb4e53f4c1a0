"""Known relative poses in metres, of odometry or a rig, brought into a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..arrays import median
from ..window import PosePrior
from .adjustment import adjust
from .estimate import Estimate
from .problem import KnownPose, Problem, Solution
from .rotations import inverse

ROUNDS = 8
SIGNIFICANCE = 5.0  # standard deviations that the known shifts must exceed together, to tell a scale
WORST_FIT = 3.0  # normalised length of what the priors disagree with the tracks by, per degree of freedom


def in_metres(found: Estimate, priors: Sequence[PosePrior], focal_weight: float) -> tuple[Estimate, float, str]:
    """The estimate with priors in it, metres per unit of the network, and why there are none (NaN)."""
    used = [p for p in priors if p.first in found.placed and p.second in found.placed]
    if not used:
        return found, np.nan, "no pose prior between the frames that the tracks place" if priors else ""
    scale, significance = told_scale(found, used)
    if significance < SIGNIFICANCE or scale <= 0:
        return found, np.nan, f"the known poses move {significance:.1f} standard deviations: too little for a scale"
    poses = found.solution.cam_from_window.copy()
    poses[:, :3, 3] *= scale
    problem = with_priors(found.sights.problem(found.reference, np.log(scale)), used, focal_weight)
    start = Solution(poses, scale * found.solution.points, found.solution.log_focal)
    solution = adjust(problem, start, ROUNDS, with_information=True)
    errors = found.sights.errors_px(solution)
    adjusted = replace(found, solution=solution, errors_px=errors)
    if adjusted.residual_px > WORST_FIT * found.residual_px:
        return found, np.nan, f"the known poses leave the tracks {adjusted.residual_px:.1f} pixels away"
    both = adjusted.fits & np.isfinite(found.sights.depth) & (adjusted.depths > 0)
    return adjusted, median(adjusted.depths[both] / found.sights.depth[both]) if both.any() else scale, ""


def told_scale(found: Estimate, priors: Sequence[PosePrior]) -> tuple[float, float]:
    """Metres per unit of the window, and the length of the known shifts in standard deviations."""
    poses = found.solution.cam_from_window
    known_known = known_found = found_found = 0.0
    for prior in priors:
        shift = (poses[prior.first] @ inverse(poses[prior.second]))[:3, 3]
        information = np.linalg.inv(prior.covariance[3:, 3:])
        known = prior.first_from_second[:3, 3]
        known_known += float(known @ information @ known)
        known_found += float(known @ information @ shift)
        found_found += float(shift @ information @ shift)
    if found_found <= 0 or known_found <= 0:
        return 0.0, 0.0
    # Both sides have errors: the ratio of lengths, turned down where directions differ, is the fair middle.
    return float(np.sqrt(known_known / found_found)), known_found / float(np.sqrt(found_found))


def with_priors(problem: Problem, priors: Sequence[PosePrior], focal_weight: float) -> Problem:
    known = tuple(
        KnownPose(p.first, p.second, p.first_from_second, np.linalg.inv(np.linalg.cholesky(p.covariance)))
        for p in priors
    )
    return replace(problem, focal_weight=focal_weight, known=(*problem.known, *known))
