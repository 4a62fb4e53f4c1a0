"""Whether an adjustment's answer may replace the network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .adjusting.estimate import Estimate
from .adjusting.problem import Solution
from .adjusting.rotations import inverse
from .arrays import median
from .doubts import doubtful
from .focal import FocalEvidence
from .tracking.observations import RAYLEIGH_MEDIAN
from .window import Reason

MIN_SHARE, MIN_MATCHED_SHARE = 0.65, 0.75  # of the sights that fit; matches have been verified pair by pair before
MIN_WHOLE = 0.4  # of the tracks that fit with all their sights: most often 0.42 to 0.8, in torn images 0.05 to 0.38
MOST_RESIDUAL = 2.2  # times the deviation that sights of their kind are assumed to have
MIN_PARALLAX = 5.0  # deviations of a sight that half of the points' rays differ by
FLAT, FLAT_SHARE = 7.0, 0.9  # deviations of a sight that this share of a flat scene's sights stay within
LEAST_SHOWN_PX = 0.02  # deviation of a sight in images without noise
PLANE_ROUNDS = 3
DISAGREEING: Reason = "the tracks do not agree"
MAY_MOVE = "; objects may move, or the lens or its rows' exposure may not be that of a pinhole camera"
BEFORE = "the window before"  # the start that goes on from it: a plane's two motions are told apart there
AGREES = 1.15  # times the refined residual that the network's may be


@dataclass(frozen=True)
class Verdict:
    reason: Reason = ""  # why the network's answer stays; empty: it does not
    detail: str = ""
    focal_factor: float = np.nan
    focal_deviation: float = np.nan
    parallax_deg: float = np.nan
    network_residual_px: float = np.nan


def judged(
    found: Estimate,
    rivals: Sequence[Estimate],
    network: np.ndarray,
    followed: bool,
    far_apart: bool,
    focal: FocalEvidence | None,
) -> Verdict:
    """Whether an estimate may replace the network's answer.

    Args:
        rivals: what other starts have led to. network: its cam_from_window (S, 4, 4).
        followed: the tracks are flow, not matches. far_apart: the frames are, where matches are often wrong.
        focal: None: no camera claims a focal length.
    """
    fitting = found.fits.sum(axis=1) >= 2
    angle = median(found.parallax[fitting]) if fitting.any() else 0.0
    before = found.sights.errors_px(Solution(network, found.sights.triangulated(network)))
    verdict = Verdict(parallax_deg=float(np.degrees(angle)), network_residual_px=median(before[found.sights.mask]))
    deviation = found.sights.deviation_px
    if focal is not None and angle * found.sights.focal >= MIN_PARALLAX * deviation:
        focal.add(found, angle)
        verdict = replace(verdict, focal_factor=focal.factor, focal_deviation=focal.deviation)
        if focal.is_wrong:
            told = found.sights.focal * focal.factor
            detail = f"focal length {found.sights.focal:.0f} pixels, the tracks say {told:.0f}"
            return replace(verdict, reason="wrong intrinsics", detail=f"{detail} ± {told * focal.deviation:.0f}")
    least = MIN_SHARE if followed else MIN_MATCHED_SHARE
    if found.inlier_share < least or found.residual_px > MOST_RESIDUAL * found.assumed_px:
        detail = f"{found.inlier_share:.0%} of the sights fit one rigid motion, within {found.residual_px:.2f} pixels"
        return replace(verdict, reason=DISAGREEING, detail=detail + MAY_MOVE)
    if not far_apart and found.whole_share < MIN_WHOLE:
        detail = f"{found.whole_share:.0%} of the tracks fit one rigid motion in all frames that see them"
        return replace(verdict, reason=DISAGREEING, detail=detail + MAY_MOVE)
    doubt = "" if found.start == BEFORE else doubtful(found, rivals, network, verdict.network_residual_px, followed)
    if doubt:
        return replace(verdict, reason="doubtful motion", detail=doubt)
    if angle * found.sights.focal < MIN_PARALLAX * deviation:
        if found.sights.known_depth is not None:
            return replace(verdict, detail="depths are those of the window before")
        return replace(verdict, reason="pure rotation", detail=f"rays differ by {np.degrees(angle):.2f} degrees")
    flat = np.inf if found.start == BEFORE else from_plane(found, fitting)
    if flat < FLAT * max(found.residual_px / RAYLEIGH_MEDIAN, LEAST_SHOWN_PX):
        return replace(verdict, reason="planar scene", detail=f"one plane leaves {flat:.2f} pixels")
    return compared(verdict, found)


def compared(verdict: Verdict, found: Estimate) -> Verdict:
    """The verdict on an estimate that nothing speaks against: the network's poses may be as good."""
    if verdict.network_residual_px >= AGREES * found.residual_px:
        return replace(verdict, reason="")
    detail = f"{verdict.network_residual_px:.2f} pixels, adjusted {found.residual_px:.2f}"
    return replace(verdict, reason="the network already agrees", detail=detail)


def from_plane(found: Estimate, fitting: np.ndarray) -> float:
    """What nine tenths of the fitting sights stay within, pixels, if all points are moved onto one plane."""
    points, sights = found.solution.points[fitting], found.sights.select(fitting)
    weight = np.ones(len(points))
    normal, middle = np.zeros(3), np.zeros(3)
    for _ in range(PLANE_ROUNDS):
        middle = (weight[:, None] * points).sum(axis=0) / weight.sum()
        away = points - middle
        normal = np.linalg.eigh((weight[:, None] * away).T @ away)[1][:, 0]
        distance = away @ normal
        weight = 1 / (1 + np.square(distance / max(2 * median(np.abs(distance)), 1e-9)))
    eye = inverse(found.solution.cam_from_window[found.reference])[:3, 3]
    rays = points - eye
    along = rays @ normal
    along = np.where(np.abs(along) > 1e-9, along, 1e-9)
    flattened = eye + rays * (((middle - eye) @ normal) / along)[:, None]
    errors = sights.errors_px(replace(found.solution, points=flattened))
    return float(np.quantile(errors[found.fits[fitting]], FLAT_SHARE))
