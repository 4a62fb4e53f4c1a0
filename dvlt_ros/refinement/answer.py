"""From an adjustment back to the window's answer: the network's gauge and scale, its maps corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .adjusting.covariance import pose_covariances
from .adjusting.estimate import Estimate
from .adjusting.rotations import inverse
from .adjusting.start import completed
from .arrays import median
from .depth import corrected
from .window import Landmarks, NetworkAnswer, Refined, Report


def kept(network: NetworkAnswer, report: Report) -> Refined:
    """The network's answer as it is."""
    unknown = np.full((len(network.depth), 6, 6), np.nan)
    return Refined(network.depth, network.confidence, network.window_from_cam, unknown, network.intrinsics, report)


def answered(
    network: NetworkAnswer,
    found: Estimate,
    seen: Sequence[Landmarks],
    cam_from_window: np.ndarray,
    report: Report,
    metres_per_unit: float,
) -> Refined:
    """A frame that neither the tracks nor the network place has no pose (NaN).

    Args:
        seen: the landmarks. cam_from_window: the network's (S, 4, 4), those that are not finite filled in.
        metres_per_unit: NaN where nothing tells it.
    """
    is_metric = bool(np.isfinite(metres_per_unit))
    placed, reference = list(found.placed), found.reference
    fits = found.fits & (found.fits.sum(axis=1) >= 2)[:, None] & (found.depths > 0)
    factor = 1.0
    if not is_metric and report.state != "kept":
        factor = networks_scale(found.depths, found.sights.depth, fits)
        if np.isnan(factor):
            detail = "no depth of the network at a track: the unit is that of the start"
            report, factor = replace(report, detail="; ".join(filter(None, (report.detail, detail)))), 1.0
    poses = found.cam_from_reference.copy()
    poses[:, :3, 3] *= factor
    theirs = cam_from_window.copy()
    theirs[:, :3, 3] *= metres_per_unit if is_metric else 1.0
    poses = completed(poses, placed, theirs)
    covariance = pose_covariances(found)
    covariance[:, 3:] *= factor
    covariance[..., 3:] *= factor
    unit = metres_per_unit if is_metric else 1.0
    depth, confidence = corrected(
        network, found.sights.pixels, factor * found.depths, fits, found.depth_deviation, unit
    )
    intrinsics = network.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.exp(found.solution.log_focal)
    window_from_cam = inverse(theirs[reference]) @ inverse(poses)
    unanswered = ~np.isfinite(network.window_from_cam).all(axis=(1, 2))
    unanswered[placed] = False
    window_from_cam[unanswered] = np.nan
    scaled = tuple(points.scaled(factor) for points in seen)
    return Refined(depth, confidence, window_from_cam, covariance, intrinsics, report, reference, scaled)


def networks_scale(depths: np.ndarray, expected: np.ndarray, fits: np.ndarray) -> float:
    """What (P, S) depths have to be multiplied by to be the network's on the whole; NaN: it has none there."""
    both = fits & np.isfinite(expected)
    return median(expected[both] / depths[both]) if both.any() else np.nan
