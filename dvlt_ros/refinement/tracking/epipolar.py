"""What two frames' matches say of the motion between them: an essential matrix, or one of the reasons for none."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MIN_MATCHES = 15
CONFIDENCE = 0.9999
MAX_ROUNDS = 1000
RIGID = 1e-6  # of the entries of R.T @ R, off the identity


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """``b_from_a`` is up to the length of its shift."""

    inliers: np.ndarray  # (M,) bool
    b_from_a: np.ndarray  # (4, 4), shift of length 1
    parallax: float  # radians, median angle between the rays of an inlier after the turn


def rays(flat: np.ndarray) -> np.ndarray:
    """Normalised coordinates (..., 2) as directions (..., 3) of length 1."""
    direction = np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)
    return direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def essential_inliers(a: np.ndarray, b: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray | None]:
    """(M,) matches that fit one essential matrix, and the matrix; normalised coordinates (M, 2) and tolerance."""
    if len(a) < MIN_MATCHES:
        return np.zeros(len(a), dtype=bool), None
    matrix, mask = cv2.findEssentialMat(
        a, b, np.eye(3), method=cv2.USAC_MAGSAC, prob=CONFIDENCE, threshold=tolerance, maxIters=MAX_ROUNDS
    )
    if matrix is None or matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return np.zeros(len(a), dtype=bool), None
    return mask.ravel() > 0, matrix


def pair_geometry(a: np.ndarray, b: np.ndarray, tolerance: float) -> PairGeometry | None:
    """Of matches (M, 2) in normalised coordinates; None: too few of them agree."""
    inliers, matrix = essential_inliers(a, b, tolerance)
    if matrix is None or inliers.sum() < MIN_MATCHES:
        return None
    _, rotation, shift, mask = cv2.recoverPose(matrix, a[inliers], b[inliers], np.eye(3))
    kept = inliers.copy()
    kept[inliers] = mask.ravel() > 0
    if kept.sum() < MIN_MATCHES:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, shift.ravel()
    cosine = ((rays(a[kept]) @ rotation.T) * rays(b[kept])).sum(axis=-1)
    return PairGeometry(kept, pose, float(np.median(np.arccos(np.clip(cosine, -1, 1)))))


def plane_motions(a: np.ndarray, b: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """b_from_a (4, 4) of each motion that lets matches (M, 2) in normalised coordinates lie on one plane.

    There are two (Faugeras and Lustman, Motion and structure from motion in a piecewise planar environment, 1988), or
    one; shifts are in units of the plane's distance.
    """
    if len(a) < MIN_MATCHES:
        return []
    matrix, mask = cv2.findHomography(a, b, cv2.RANSAC, tolerance, maxIters=MAX_ROUNDS, confidence=CONFIDENCE)
    if matrix is None or not np.isfinite(matrix).all() or mask.sum() < MIN_MATCHES:
        return []
    looking, found = rays(a[mask.ravel() > 0]), []
    _, rotations, shifts, normals = cv2.decomposeHomographyMat(matrix, np.eye(3))
    for rotation, shift, normal in zip(rotations, shifts, normals, strict=True):
        # The decomposition of a homography that is nearly singular may give what is no rotation, or NaN.
        is_rotation = np.abs(rotation.T @ rotation - np.eye(3)).max() < RIGID
        if is_rotation and np.median(looking @ normal) > 0:  # the plane lies in front
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = rotation, shift.ravel()
            found.append(pose)
    return found
