"""Motions that tell no depth: recognised before anything is adjusted, and by what an adjustment has left."""

from __future__ import annotations

import numpy as np

from .arrays import median
from .tracking.epipolar import rays
from .tracking.observations import Observations
from .window import Reason

MIN_TRACKS = 25  # seen in two frames
STILL = 1.2 / 640  # image widths that half of the tracks move less than
ROTATION_ROUNDS = 3
ROTATED_TRACKS = 60  # that are looked at
ROTATION_SPREAD = 2.0  # deviations of a sight, that the median of a rotated track stays within
ROTATION_TAIL = 4.0  # the same for nine tenths of them


def degenerate(sights: Observations, width: int) -> tuple[Reason, str]:
    """Why the sights tell no depth, and the figure; empty: nothing speaks against it."""
    first = sights.mask.argmax(axis=1)
    begin = sights.pixels[np.arange(len(first)), first]
    moved = np.linalg.norm(sights.pixels - begin[:, None], axis=-1)
    furthest = np.where(sights.mask, moved, 0.0).max(axis=1)
    usual = median(furthest)
    if usual < STILL * width:
        return "standing still", f"half of the tracks move less than {usual:.2f} pixels"
    left = after_rotation(sights)
    if len(left) and median(left) < ROTATION_SPREAD and np.quantile(left, 0.9) < ROTATION_TAIL:
        pixels = median(left) * sights.deviation_px
        return "pure rotation", f"a rotation leaves {pixels:.2f} pixels of {usual:.1f}"
    return "", ""


def after_rotation(sights: Observations) -> np.ndarray:
    """Largest distance of each track to where the best rotations would have it, in deviations of a sight."""
    reference = int(sights.mask.sum(axis=0).argmax())
    chosen = np.flatnonzero(sights.mask[:, reference] & (sights.mask.sum(axis=1) >= 2))
    based = sights.select(chosen[:: max(1, len(chosen) // ROTATED_TRACKS)])
    directions = rays(based.seen)
    base, mask = directions[:, reference], based.mask
    weight = mask.astype(np.float64)
    per_radian = based.focal / based.deviation_px
    error = np.zeros(mask.shape)
    for _ in range(ROTATION_ROUNDS):
        u, _, vt = np.linalg.svd(np.einsum("ps,psi,pj->sij", weight, directions, base))
        u[..., :, 2] *= np.linalg.det(u @ vt)[:, None]
        turned = np.einsum("sij,pj->psi", u @ vt, base)
        error = np.linalg.norm(directions - turned, axis=-1) * per_radian * mask
        weight = mask / (1 + np.square(error / 3))
    return error.max(axis=1)
