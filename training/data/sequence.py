"""What a data source gives: posed RGB-D sequences, and what is refused of them, each with its cause.

Every source implements `RgbdSequence`. The checks stand here once, so that a folder, a recording and a test
refuse the same things in the same words.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dvlt_ros.errors import DataError

from ..batches.augment import Frame

MAX_SKEW = 0.02  # largest entry of R^T R - 1; text files round poses, more than that is not a rotation
MAX_MEDIAN_DEPTH = 1000.0  # metres; beyond, depth was read in millimetres
MIN_MEDIAN_DEPTH = 0.01  # metres; below, depth was divided once too often
MAX_STEP = 20.0  # median motion between frames, in median depths; no recording moves that fast


class RgbdSequence(Protocol):
    """Posed RGB-D images of one scene, in order. Must pickle: loader workers hold copies."""

    @property
    def name(self) -> str: ...

    @property
    def is_synthetic(self) -> bool: ...

    @property
    def world_from_cam(self) -> np.ndarray:
        """All camera poses (N, 4, 4), float64, OpenCV axes, metres."""
        ...

    def __len__(self) -> int: ...

    def frame(self, index: int) -> Frame:
        """Frame ``index``.

        Raises:
            DataError: a frame that cannot be used.
        """
        ...


def rigid_pose(matrix: np.ndarray, source: str) -> np.ndarray:
    """A camera pose (4, 4) as float64 with an exact rotation: the nearest one to what a file rounded.

    Raises:
        DataError: another shape, NaN or infinity, or a matrix that is not a rotation and a translation.
    """
    pose = np.asarray(matrix, dtype=np.float64)
    if pose.shape != (4, 4):
        raise DataError(f"{source}: a pose is a 4x4 matrix, got {pose.shape}")
    if not np.isfinite(pose).all():
        raise DataError(f"{source}: the pose has NaN or infinite entries")
    rotation = pose[:3, :3]
    skew = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if skew > MAX_SKEW or not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise DataError(f"{source}: the pose is not a rotation and a translation (R^T R differs from 1 by {skew:.2g})")
    if np.linalg.det(rotation) < 0:
        raise DataError(f"{source}: the pose mirrors: its rotation has determinant -1")
    u, _, vt = np.linalg.svd(rotation)
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = u @ vt, pose[:3, 3]
    return rigid


def median_step(world_from_cam: np.ndarray) -> float:
    """Median motion in metres between consecutive cameras (N, 4, 4) that move; 0 where none does."""
    steps = np.linalg.norm(np.diff(world_from_cam[:, :3, 3], axis=0), axis=-1)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0


def check_depth(depth: np.ndarray, step_m: float, source: str) -> None:
    """Refuses depth (H, W) without a valid pixel or in an implausible unit; 0 is invalid.

    Plausible is a median between 1 cm and 1 km, and a camera that moves less than 20 median depths from one
    frame to the next (``step_m`` metres, median over the sequence; 0: not known). A factor below ten cannot
    be seen so.

    Raises:
        DataError: with the unit that the values look like.
    """
    valid = depth[depth > 0]
    if not valid.size:
        raise DataError(f"{source}: missing depth: no pixel has a valid value")
    median = float(np.median(valid))
    if not np.isfinite(median):
        raise DataError(f"{source}: depth has NaN or infinite values")
    if median > MAX_MEDIAN_DEPTH:
        raise DataError(f"{source}: median depth {median:.6g} m: it looks like millimetres read as metres")
    if median < MIN_MEDIAN_DEPTH:
        raise DataError(f"{source}: median depth {median:.3g} m: it looks like metres read as millimetres")
    if step_m > MAX_STEP * median:
        raise DataError(
            f"{source}: cameras move {step_m:.6g} m from frame to frame, past a median depth of "
            f"{median:.3g} m: the poses look like millimetres, or the depth is in a larger unit than said"
        )


def require_frames(sequence: RgbdSequence, num_views: int) -> None:
    """Refuses a sequence that is shorter than a window.

    Raises:
        DataError: fewer frames than views.
    """
    if len(sequence) < num_views:
        raise DataError(
            f"{sequence.name}: {len(sequence)} usable frames are fewer than the {num_views} views asked for"
        )
