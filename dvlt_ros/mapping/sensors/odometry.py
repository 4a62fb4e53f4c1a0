"""Odometry: the pose of the robot's base at a stamp, interpolated between messages."""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ...errors import ConfigError, InputError
from ...geometry import matrix_from_quaternion, quaternion_from_matrix, rotation_angle
from ...parameters import check_parameters, parameter
from ..data.frames import OUT_OF_ORDER_S

MAX_EXTRAPOLATION_S = 0.05  # beyond the latest message, at constant velocity
SHORTEST_STEP_S = 0.05  # shorter intervals give no velocity, because stamps jitter
MAX_SKEW = 1e-3  # largest deviation of a rotation matrix from orthonormal


class OdometryError(InputError):
    """An odometry message that cannot be used, or a stamp at which there is no odometry."""


@dataclass(frozen=True)
class OdometryConfig:
    """Limits within which odometry is continuous."""

    GROUP: ClassVar[str] = "odometry"
    time_offset_s: float = parameter(
        0.0, "added to an image's stamp to find the odometry of that moment", -10.0, 10.0, expert=True
    )
    max_gap_s: float = parameter(0.5, "odometry is not interpolated over a longer pause", 0.0, 60.0, expert=True)
    max_silence_s: float = parameter(
        5.0,
        "after a longer pause odometry counts as started anew: what lies before has no known relation",
        0.0,
        3600.0,
        expert=True,
    )
    max_speed: float = parameter(5.0, "m/s; what is faster is a jump of the odometry", 0.0, 1000.0, expert=True)
    max_turn_rate: float = parameter(6.3, "rad/s; what is faster is a jump of the odometry", 0.0, 1000.0, expert=True)

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.max_silence_s < self.max_gap_s:
            raise ConfigError(
                f"odometry.max_silence_s must be at least odometry.max_gap_s {self.max_gap_s}, got {self.max_silence_s}"
            )


@dataclass(frozen=True, eq=False)
class OdometryPose:
    """Pose of the base at one stamp."""

    stamp_ns: int  # as requested, without odom_time_offset_s
    odom_from_base: np.ndarray  # (4, 4) float64, metres, rigid
    epoch: int  # poses of different epochs have no known relation


@dataclass(frozen=True, eq=False)
class CameraInOdom:
    """Pose of a camera at one stamp, from odometry and the camera's mount."""

    odom_from_cam: np.ndarray  # (4, 4) float64, metres, rigid
    epoch: int  # poses of different epochs have no known relation


@dataclass(frozen=True, eq=False)
class _Sample:
    stamp_ns: int
    odom_from_base: np.ndarray  # (4, 4)
    epoch: int


class OdometryHistory:
    """The latest messages. Thread-safe: one thread may add while another one reads."""

    def __init__(self, config: OdometryConfig | None = None, max_samples: int = 10_000) -> None:
        if max_samples < 2:
            raise ConfigError(f"max_samples must be at least 2, got {max_samples}")
        self.config = config or OdometryConfig()
        self._max_samples = max_samples
        self._lock = threading.Lock()
        self._samples: list[_Sample] = []
        self._before_jump: list[_Sample] = []  # samples, if the stamp of the latest has jumped
        self._epoch = self._num_epochs = 0

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def latest_ns(self) -> int | None:
        """Stamp of the newest message, on the odometry's clock; None: there is none."""
        with self._lock:
            return self._samples[-1].stamp_ns if self._samples else None

    def clear(self) -> None:
        """Forgets all messages and begins another epoch."""
        with self._lock:
            self._samples, self._before_jump = [], []
            self._begin_epoch()

    def add(self, stamp_ns: int, odom_from_base: np.ndarray) -> str | None:
        """Adds a message (4, 4), metres; returns why it begins a new epoch, or None.

        Raises:
            OdometryError: the message cannot be used; nothing has changed.
        """
        if stamp_ns < 0:
            raise OdometryError(f"odometry refused: its stamp is {stamp_ns * 1e-9:.3f} s")
        pose = _rigid(odom_from_base)
        with self._lock:
            if self._is_latest_odd(stamp_ns):
                self._samples = self._before_jump
                self._epoch = self._samples[-1].epoch
            break_reason = self._reason_for_a_break(stamp_ns, pose)
            if break_reason is not None:
                self._begin_epoch()
            self._samples.append(_Sample(stamp_ns, pose, self._epoch))
            if len(self._samples) > 1.25 * self._max_samples:  # seldom, because deletion moves all that remain
                del self._samples[: -self._max_samples]
            return break_reason

    def at(self, stamp_ns: int) -> OdometryPose:
        """Interpolated between messages, or extrapolated by at most 50 ms at constant velocity.

        Raises:
            OdometryError: there is no odometry at this stamp; the message says why.
        """
        wanted_ns = stamp_ns + round(self.config.time_offset_s * 1e9)
        with self._lock:
            if not self._samples:
                raise OdometryError("no odometry has arrived")
            after = bisect.bisect_left(self._samples, wanted_ns, key=lambda sample: sample.stamp_ns)
            if after < len(self._samples) and self._samples[after].stamp_ns == wanted_ns:
                found = self._samples[after]
            elif after == len(self._samples):
                found = self._extrapolated(wanted_ns)
            else:
                found = self._interpolated(after, wanted_ns)
        return OdometryPose(stamp_ns, found.odom_from_base.copy(), found.epoch)

    def _begin_epoch(self) -> None:
        self._num_epochs += 1
        self._epoch = self._num_epochs

    def _is_latest_odd(self, stamp_ns: int) -> bool:
        """Whether the latest stamp has jumped, but this one follows those before it: only that message is lost."""
        if not self._before_jump:
            return False
        return 0 < stamp_ns - self._before_jump[-1].stamp_ns <= self.config.max_silence_s * 1e9

    def _reason_for_a_break(self, stamp_ns: int, pose: np.ndarray) -> str | None:
        before, self._before_jump = self._samples, []
        if not self._samples:
            return None
        latest = self._samples[-1]
        elapsed_s = (stamp_ns - latest.stamp_ns) * 1e-9
        if 0 <= (back_s := (latest.stamp_ns - stamp_ns) * 1e-9) < OUT_OF_ORDER_S:
            raise OdometryError(f"odometry refused: its stamp is {back_s:.3f} s behind the message before it")
        if back_s > 0:
            self._samples, self._before_jump = [], before
            return f"odometry stamps went back by {back_s:.1f} s"
        if elapsed_s > self.config.max_silence_s:
            self._before_jump = before.copy()
            return f"no odometry for {elapsed_s:.1f} s"
        step = inverse(latest.odom_from_base) @ pose
        time_s = max(elapsed_s, SHORTEST_STEP_S)
        distance = float(np.linalg.norm(step[:3, 3]))
        angle = float(rotation_angle(torch.from_numpy(step[:3, :3])))
        if distance > self.config.max_speed * time_s:
            return f"odometry jumped by {distance:.2f} m in {elapsed_s:.3f} s"
        if angle > self.config.max_turn_rate * time_s:
            return f"odometry jumped by {np.degrees(angle):.0f} degrees in {elapsed_s:.3f} s"
        return None

    def _interpolated(self, after: int, wanted_ns: int) -> _Sample:
        if after == 0:
            early_s = (self._samples[0].stamp_ns - wanted_ns) * 1e-9
            raise OdometryError(f"no odometry: the oldest message is {early_s:.3f} s newer than the stamp")
        start, end = self._samples[after - 1], self._samples[after]
        gap_s = (end.stamp_ns - start.stamp_ns) * 1e-9
        if start.epoch != end.epoch:
            raise OdometryError("no odometry: it broke between the messages before and after this stamp")
        if gap_s > self.config.max_gap_s:
            raise OdometryError(f"no odometry: it paused for {gap_s:.2f} s around this stamp")
        ratio = (wanted_ns - start.stamp_ns) / (end.stamp_ns - start.stamp_ns)
        return _Sample(wanted_ns, interpolate(start.odom_from_base, end.odom_from_base, ratio), end.epoch)

    def _extrapolated(self, wanted_ns: int) -> _Sample:
        latest = self._samples[-1]
        late_s = (wanted_ns - latest.stamp_ns) * 1e-9
        if late_s > MAX_EXTRAPOLATION_S:
            raise OdometryError(f"no odometry: the latest message is {late_s:.3f} s older than the stamp")
        before = self._before_latest()
        if before is None:
            raise OdometryError("no odometry: a single message gives no velocity")
        ratio = (wanted_ns - before.stamp_ns) / (latest.stamp_ns - before.stamp_ns)
        if ratio > 2:
            raise OdometryError(f"no odometry: {late_s:.3f} s is too far beyond two messages so close together")
        step = interpolate(np.eye(4), inverse(before.odom_from_base) @ latest.odom_from_base, ratio - 1)
        return _Sample(wanted_ns, latest.odom_from_base @ step, latest.epoch)

    def _before_latest(self) -> _Sample | None:
        """The message from which the velocity is measured: 50 ms before the latest one, because stamps jitter."""
        latest = self._samples[-1]
        found = None
        for sample in reversed(self._samples[:-1]):
            elapsed_s = (latest.stamp_ns - sample.stamp_ns) * 1e-9
            if sample.epoch != latest.epoch or elapsed_s > self.config.max_gap_s:
                break
            found = sample
            if elapsed_s >= SHORTEST_STEP_S:
                break
        return found


def inverse(a_from_b: np.ndarray) -> np.ndarray:
    """b_from_a (4, 4), rigid."""
    b_from_a = np.eye(4)
    b_from_a[:3, :3] = a_from_b[:3, :3].T
    b_from_a[:3, 3] = -a_from_b[:3, :3].T @ a_from_b[:3, 3]
    return b_from_a


def interpolate(start: np.ndarray, end: np.ndarray, ratio: float) -> np.ndarray:
    """Between two rigid poses (4, 4); ``ratio`` is 0 at ``start``, 1 at ``end``, and may lie outside."""
    pose = np.eye(4)
    pose[:3, :3] = start[:3, :3] @ _power(start[:3, :3].T @ end[:3, :3], ratio)
    pose[:3, 3] = start[:3, 3] + ratio * (end[:3, 3] - start[:3, 3])
    return pose


def _power(rotation: np.ndarray, exponent: float) -> np.ndarray:
    """Rotation (3, 3) about the same axis by ``exponent`` times the angle."""
    quaternion = quaternion_from_matrix(torch.from_numpy(np.ascontiguousarray(rotation)))
    half = torch.atan2(quaternion[:3].norm(), quaternion[3])
    vector = quaternion[:3] * (exponent * half).sin() / half.sin() if half > 1e-12 else exponent * quaternion[:3]
    return matrix_from_quaternion(torch.cat([vector, (exponent * half).cos()[None]])).numpy()


def _rigid(pose: np.ndarray) -> np.ndarray:
    """A checked copy with an exactly orthonormal rotation. Raises OdometryError."""
    pose = np.array(pose, dtype=np.float64)
    if pose.shape != (4, 4):
        raise OdometryError(f"odometry refused: its pose must be (4, 4), got {pose.shape}")
    if not np.isfinite(pose).all():
        raise OdometryError("odometry refused: its pose is not finite")
    rotation = pose[:3, :3]
    skew = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if skew > MAX_SKEW or np.linalg.det(rotation) < 0 or not np.array_equal(pose[3], [0, 0, 0, 1]):
        raise OdometryError("odometry refused: its pose is not rigid")
    u, _, vt = np.linalg.svd(rotation)
    pose[:3, :3] = u @ vt
    return pose
