"""The window's tracks as arrays, with what the network says of their depth, and the adjustment problem they make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..adjusting.adjustment import BEHIND, NEAREST
from ..adjusting.problem import KnownPose, Problem, Solution
from ..adjusting.rotations import inverse
from .triangulation import TRUST_IN_DEPTH, TRUST_IN_KNOWN_DEPTH, triangulate

DEPTH_DEVIATION = 0.2  # of the logarithm of the network's depth: it holds points that have no parallax
OUTLIER = 3.0  # standard deviations
RAYLEIGH_MEDIAN = 1.1774  # of the length of two normal errors, in their standard deviations


@dataclass(frozen=True, eq=False)
class KnownDepth:
    """Depths of tracks that are known better than by the network; tracks without any keep the network's."""

    depth: np.ndarray  # (P, S); NaN where not known
    deviation: np.ndarray  # (P, S) of their logarithms
    unit: float = 1.0  # of these depths, per unit of the window that knows them

    def scaled(self, factor: float) -> KnownDepth:
        """The same in another unit."""
        return replace(self, depth=factor * self.depth, unit=factor * self.unit)

    def at(self, index: tuple[Any, ...]) -> KnownDepth:
        """A part of them."""
        return replace(self, depth=self.depth[index], deviation=self.deviation[index])


@dataclass(frozen=True, eq=False)
class Observations:
    """P tracks in S frames."""

    pixels: np.ndarray  # (P, S, 2) of the images
    mask: np.ndarray  # (P, S) bool, where a track is seen
    seen: np.ndarray  # (P, S, 2) normalised coordinates; 0 where not seen
    depth: np.ndarray  # (P, S) the network's; NaN where it has none
    focal: float  # pixels of the images
    deviation_px: float  # standard deviation of a sight in each direction
    numbers: np.ndarray  # (P,) int, as of `Tracks`
    known: tuple[KnownPose, ...] = ()  # in the network's unit
    known_depth: KnownDepth | None = None

    def select(self, tracks: np.ndarray) -> Observations:
        """Some tracks, by index or (P,) bool."""
        parts = {name: getattr(self, name)[tracks] for name in ("pixels", "mask", "seen", "depth", "numbers")}
        known = self.known_depth
        return replace(self, **parts, known_depth=known and known.at((tracks,)))

    def within(self, frames: list[int]) -> Observations:
        """Sights in some frames alone; the arrays keep their shapes."""
        mask = np.zeros_like(self.mask)
        mask[:, frames] = self.mask[:, frames]
        return replace(self, mask=mask, depth=np.where(mask, self.depth, np.nan))

    def of_frames(self, frames: list[int]) -> Observations:
        """Some frames alone, without known poses."""
        parts = {name: getattr(self, name)[:, frames] for name in ("pixels", "mask", "seen", "depth")}
        known = self.known_depth
        return replace(self, **parts, known=(), known_depth=known and known.at((slice(None), frames)))

    @property
    def tolerance(self) -> float:
        """Of a sight, in normalised coordinates."""
        return OUTLIER * self.deviation_px / self.focal

    def triangulated(self, cam_from_window: np.ndarray) -> np.ndarray:
        """Points (P, 3)."""
        told = np.zeros(len(self.mask), dtype=bool)
        if self.known_depth is not None:
            told = np.isfinite(self.known_depth.depth).any(axis=1)
        trust = np.where(told, TRUST_IN_KNOWN_DEPTH, TRUST_IN_DEPTH)
        return triangulate(self.seen, self.mask, self.depth, trust, cam_from_window)

    def problem(self, reference: int, log_scale: float = 0.0) -> Problem:
        """``log_scale`` takes the network's unit to that of the poses."""
        depth, deviation = self.depth, np.full(self.mask.shape, DEPTH_DEVIATION)
        if self.known_depth is not None:
            told = np.isfinite(self.known_depth.depth).any(axis=1, keepdims=True)
            depth = np.where(told, self.known_depth.depth, depth)
            deviation = np.where(told, self.known_depth.deviation, deviation)
        known = self.mask & np.isfinite(depth)
        share = np.sqrt(np.maximum(known.sum(axis=1, keepdims=True), 1))  # errors within a track are the same error
        return Problem(
            seen=self.seen,
            weight=self.mask * (self.focal / self.deviation_px),
            log_depth=np.log(np.where(known, depth, 1.0)) + log_scale,
            depth_weight=known / (deviation * share),
            limit=OUTLIER,
            reference=reference,
            known=tuple(pose.scaled(float(np.exp(log_scale))) for pose in self.known),
        )

    def errors_px(self, solution: Solution) -> np.ndarray:
        """(P, S) distances in the image, pixels; NaN where a track is not seen."""
        pose = solution.cam_from_window
        local = pose[:, :3, :3] @ solution.points.T + pose[:, :3, 3:]  # (S, 3, P)
        front = local[:, 2] > NEAREST
        near = np.exp(solution.log_focal) / np.where(front, local[:, 2], 1.0)
        away = np.hypot(local[:, 0] * near - self.seen[..., 0].T, local[:, 1] * near - self.seen[..., 1].T)
        return np.where(self.mask, self.focal * np.where(front, away, np.sqrt(2) * BEHIND).T, np.nan)


def parallax(seen: np.ndarray, mask: np.ndarray, solution: Solution) -> np.ndarray:
    """(P,) largest angle in radians at each point between the first ray of its track and another."""
    centres = inverse(solution.cam_from_window)[:, :3, 3]
    rays = solution.points[:, None] - centres
    rays /= np.maximum(np.linalg.norm(rays, axis=-1, keepdims=True), 1e-12)
    first = rays[np.arange(len(rays)), mask.argmax(axis=1)]
    cosine = np.where(mask, np.einsum("psi,pi->ps", rays, first), 1.0)
    widest = rays[np.arange(len(rays)), cosine.argmin(axis=1)]
    cosine = np.where(mask, np.einsum("psi,pi->ps", rays, widest), 1.0).min(axis=1)
    return np.arccos(np.clip(cosine, -1, 1))


def sampled(
    depth: np.ndarray, pixels: np.ndarray, scale: tuple[float, float], offset: tuple[float, float]
) -> np.ndarray:
    """Depth maps (S, h, w) at pixels (P, S, 2) of the images, nearest; NaN outside and where it is no length."""
    height, width = depth.shape[1:]
    cells = np.floor(pixels * scale + offset).astype(int)
    inside = ((cells >= 0) & (cells < (width, height))).all(axis=-1)
    columns, rows = cells[..., 0].clip(0, width - 1), cells[..., 1].clip(0, height - 1)
    found = depth[np.arange(len(depth)), rows, columns].astype(np.float64)
    return np.where(inside & (found > 0) & np.isfinite(found), found, np.nan)
