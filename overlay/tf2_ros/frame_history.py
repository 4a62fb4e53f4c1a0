"""The poses that one frame had in its parents, over time."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .exceptions import ExtrapolationException

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    translation: Vector  # (3,), metres
    rotation: Vector  # (4,), unit quaternion x y z w

    def __matmul__(self, other: Pose) -> Pose:
        """a_from_c = a_from_b @ b_from_c"""
        return Pose(
            self.translation + rotate(self.rotation, other.translation), multiply(self.rotation, other.rotation)
        )

    def inverse(self) -> Pose:
        rotation = self.rotation * (-1, -1, -1, 1)
        return Pose(-rotate(rotation, self.translation), rotation)


IDENTITY = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))


@dataclass(frozen=True)
class Sample:
    stamp_ns: int
    parent: str
    pose: Pose  # parent_from_frame

    def equals(self, other: Sample) -> bool:
        """The same, sent again."""
        return (
            self.parent == other.parent
            and np.array_equal(self.pose.translation, other.pose.translation)
            and np.array_equal(self.pose.rotation, other.pose.rotation)
        )


class FrameHistory:
    """Samples in order of time, of equal stamps in order of arrival; a static frame has one, which holds always."""

    def __init__(self, is_static: bool, max_age_ns: int) -> None:
        self.is_static = is_static
        self.max_age_ns = max_age_ns
        self.samples: list[Sample] = []

    def insert(self, sample: Sample) -> bool:
        """False for a sample that is too old. What is too old already goes first, so one more than that stays."""
        if self.is_static:
            self.samples = [sample]
            return True
        if self.samples:
            oldest_ns = self.samples[-1].stamp_ns - self.max_age_ns
            del self.samples[: bisect.bisect_left(self.samples, oldest_ns, key=lambda s: s.stamp_ns)]
            if sample.stamp_ns < oldest_ns:
                return False
        at = bisect.bisect_right(self.samples, sample.stamp_ns, key=lambda s: s.stamp_ns)
        if not any(sample.equals(known) for known in self._with_stamp(sample.stamp_ns, at)):
            self.samples.insert(at, sample)
        return True

    def clear(self) -> None:
        if not self.is_static:
            self.samples = []

    def at(self, stamp_ns: int) -> Sample | None:
        """The frame at a time (0: the latest), interpolated; None if it has no data at all.

        Of several samples with one stamp the newest counts; at the very beginning of what is kept, the oldest.
        """
        if not self.samples:
            return None
        if self.is_static or stamp_ns in (0, self.samples[-1].stamp_ns):
            return self.samples[-1]
        if stamp_ns == self.samples[0].stamp_ns:
            return self.samples[0]
        self._require_inside(stamp_ns)
        after = bisect.bisect_right(self.samples, stamp_ns, key=lambda s: s.stamp_ns)
        start, end = self.samples[after - 1], self.samples[after]
        if start.parent != end.parent:
            return start
        ratio = (stamp_ns - start.stamp_ns) / (end.stamp_ns - start.stamp_ns)
        translation = (1 - ratio) * start.pose.translation + ratio * end.pose.translation
        return Sample(stamp_ns, start.parent, Pose(translation, slerp(start.pose.rotation, end.pose.rotation, ratio)))

    def _with_stamp(self, stamp_ns: int, behind: int) -> Iterator[Sample]:
        while behind > 0 and self.samples[behind - 1].stamp_ns == stamp_ns:
            behind -= 1
            yield self.samples[behind]

    def _require_inside(self, stamp_ns: int) -> None:
        earliest_ns, latest_ns = self.samples[0].stamp_ns, self.samples[-1].stamp_ns
        requested = f"Requested time {seconds(stamp_ns)}"
        if len(self.samples) == 1:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {seconds(stamp_ns)}, "
                f"but only time {seconds(latest_ns)} is in the buffer"
            )
        if stamp_ns > latest_ns:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  {requested} "
                f"but the latest data is at time {seconds(latest_ns)}"
            )
        if stamp_ns < earliest_ns:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  {requested} "
                f"but the earliest data is at time {seconds(earliest_ns)}"
            )


def seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"


def multiply(a: Vector, b: Vector) -> Vector:
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.array([*vector, a[3] * b[3] - a[:3] @ b[:3]])


def rotate(rotation: Vector, point: Vector) -> Vector:
    twice = 2.0 * np.cross(rotation[:3], point)
    rotated: Vector = point + rotation[3] * twice + np.cross(rotation[:3], twice)
    return rotated


def slerp(start: Vector, end: Vector, ratio: float) -> Vector:
    """Along the shorter arc."""
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:
        mixed = (1 - ratio) * start + ratio * end
    else:
        mixed = (np.sin((1 - ratio) * angle) * start + np.sin(ratio * angle) * end) / np.sin(angle)
    return mixed / np.linalg.norm(mixed)
