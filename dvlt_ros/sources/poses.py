"""Moving frames: poses at the times a camera asks for, interpolated, never guessed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..errors import DataError
from ..geometry import matrix_from_quaternion

logger = logging.getLogger(__name__)

MAX_NORM_ERROR = 0.05  # of a quaternion


@dataclass(frozen=True)
class PoseTrack:
    """Poses a_from_b over time; sorted by stamp, unit quaternions."""

    stamps_ns: np.ndarray  # (N,) int64, strictly increasing
    translations: np.ndarray  # (N, 3), metres
    quaternions: np.ndarray  # (N, 4), xyzw

    @classmethod
    def from_samples(
        cls, stamps_ns: ArrayLike, translations: ArrayLike, quaternions: ArrayLike, source: str
    ) -> PoseTrack:
        """Sorts the samples; the last of several at one time counts.

        Samples with NaN, or with a quaternion whose length is not 1, are left out with a warning.

        Raises:
            DataError: no samples are left.
        """
        stamps = np.asarray(stamps_ns, dtype=np.int64)
        t = np.asarray(translations, dtype=np.float64).reshape(-1, 3)
        q = np.asarray(quaternions, dtype=np.float64).reshape(-1, 4)
        norms = np.linalg.norm(q, axis=-1)
        good = np.isfinite(t).all(axis=-1) & (np.abs(norms - 1) <= MAX_NORM_ERROR)  # False for NaN
        if not good.any():
            raise DataError(
                f"{source}: no poses"
                if not len(stamps)
                else f"{source}: all {len(stamps)} poses are NaN or not rotations"
            )
        if not good.all():
            logger.warning("%s: %d of %d poses left out: NaN, or not rotations", source, (~good).sum(), len(good))
        order = np.flatnonzero(good)[np.argsort(stamps[good], kind="stable")]
        stamps, t, q = stamps[order], t[order], (q / np.where(good, norms, 1)[:, None])[order]
        last = np.append(np.diff(stamps) > 0, True)
        return cls(stamps[last], t[last], q[last])

    def at(self, stamp_ns: int, max_gap_ns: int) -> np.ndarray:
        """The pose (4, 4) at a time: linear in translation, along the shortest turn in rotation.

        Raises:
            DataError: a time outside the track, or between two poses further apart than ``max_gap_ns``.
        """
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after < len(self.stamps_ns) and self.stamps_ns[after] == stamp_ns:
            return pose_from_quaternion(self.translations[after], self.quaternions[after])
        if after in (0, len(self.stamps_ns)):
            away = min(abs(int(self.stamps_ns[i]) - stamp_ns) for i in (0, -1))
            raise DataError(f"no pose at {stamp_ns * 1e-9:.3f} s: the poses end {away * 1e-9:.3f} s from it")
        start, end = int(self.stamps_ns[after - 1]), int(self.stamps_ns[after])
        if end - start > max_gap_ns:
            raise DataError(f"no pose at {stamp_ns * 1e-9:.3f} s: a gap of {(end - start) * 1e-9:.3f} s between poses")
        share = (stamp_ns - start) / (end - start)
        translation = (1 - share) * self.translations[after - 1] + share * self.translations[after]
        return pose_from_quaternion(translation, slerp(self.quaternions[after - 1], self.quaternions[after], share))


def slerp(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """Unit quaternion (4,) on the shorter arc from ``start`` (share 0) to ``end`` (share 1)."""
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:  # the arc is a line
        mixed = (1 - share) * start + share * end
    else:
        mixed = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return mixed / np.linalg.norm(mixed)


def pose_from_quaternion(translation: ArrayLike, quaternion: ArrayLike, source: str = "pose") -> np.ndarray:
    """(4, 4) of a translation (3,) and a quaternion (4,) in xyzw order.

    Raises:
        DataError: a quaternion with NaN or whose length is not 1 within 5 %; all zeros above all, which is
            what an empty message holds.
    """
    norm = float(np.linalg.norm(np.asarray(quaternion, dtype=np.float64)))
    if not abs(norm - 1) <= MAX_NORM_ERROR:
        raise DataError(f"{source}: the pose is NaN or not a rotation: its quaternion has length {norm:.3g}")
    pose = np.eye(4)
    pose[:3, :3] = matrix_from_quaternion(torch.tensor(np.asarray(quaternion), dtype=torch.float64)).numpy()
    pose[:3, 3] = translation
    return pose
