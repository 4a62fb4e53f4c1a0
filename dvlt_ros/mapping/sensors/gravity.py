"""Gravity: the z axis of a new map points up, according to an IMU or to the camera's mount.

A map keeps its first axes, because rotating a map in use would move everything that was planned in it. Tilt that
accumulates later is corrected by odometry and loop closures.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from ...errors import InputError
from ...health import Health
from ...parameters import check_parameters, parameter
from ..data.frames import Frame

GravitySource = Literal["auto", "mount", "imu"]

STANDARD_GRAVITY = 9.80665  # m/s²
MAX_DEVIATION = 0.2  # relative; an averaged acceleration that differs by more from gravity is refused
SETTLED_S = 0.5  # time of messages before the estimate is used
MAX_PAUSE_S = 0.5  # after a longer pause the rotation in between is unknown
MAX_AGE_S = 0.1  # between an image and the IMU's nearest message
REMEMBERED = 4000  # directions: 10 s at 400 Hz
STEEP = 0.98  # cosine; for a camera that looks nearly straight up or down, forward is taken from its image's top


class GravityError(InputError):
    """An IMU message that cannot be used, or a time at which the direction of gravity is unknown."""


@dataclass(frozen=True)
class GravityConfig:
    """How gravity is measured, and how long a new map waits for it."""

    GROUP: ClassVar[str] = "gravity"
    patience_s: float = parameter(
        2.0, "a new map waits so long for gravity before it begins as the camera stands", 0.0, 3600.0, expert=True
    )
    imu_averaging_s: float = parameter(
        2.0, "accelerations of the IMU are averaged over so long; what the robot's own motion adds must cancel in it",
        0.01, 60.0, expert=True)  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)


class Gravity:
    """Gives new maps a level orientation. ``state`` and ``problem`` may be read from any thread."""

    def __init__(
        self, source: GravitySource, look_up: Callable[[int, str], np.ndarray], config: GravityConfig | None = None
    ) -> None:
        """``look_up`` gives level_from_cam (3, 3) of a camera (frame_id) at a stamp in ns, or raises GravityError."""
        self.state = ""  # source by which the current map is level; empty: it is not
        self.problem = ""  # why it is not level, or why it waits; empty: it is level
        self._source = source
        self._look_up = look_up
        self._config = config or GravityConfig()
        self._waiting_since_ns: int | None = None

    def health(self) -> Health:
        """Why maps are not level although they should be."""
        is_level = bool(self.state) or not self.problem
        return Health.unless("" if is_level else f"the map is not level by gravity: {self.problem}")

    def map_from_cam(self, frame: Frame, otherwise: np.ndarray) -> np.ndarray:
        """Rotation (3, 3) for a map that begins at this frame; ``otherwise`` if gravity did not come in time.

        Raises:
            GravityError: gravity is not known yet; the map should wait.
        """
        try:
            found = self._look_up(frame.stamp_ns, frame.frame_id)
        except GravityError as error:
            self.problem = str(error)
            if self._waiting_since_ns is None:
                self._waiting_since_ns = frame.received_ns
            if frame.received_ns - self._waiting_since_ns < self._config.patience_s * 1e9:
                raise
            found = otherwise
            self.state = ""
        else:
            self.state = self._source
            self.problem = ""
        self._waiting_since_ns = None
        return found


class _Direction(NamedTuple):
    stamp_ns: int
    acceleration: np.ndarray  # (3,) m/s², averaged; points up


class UpFilter:
    """The up direction in an IMU's frame: averaged accelerations, rotated with the gyros' angular velocity.

    Thread-safe: one thread may add while another one reads.
    """

    def __init__(self, averaging_s: float) -> None:
        self._averaging_s = averaging_s
        self._lock = threading.Lock()
        self._directions: deque[_Direction] = deque(maxlen=REMEMBERED)
        self._begun_ns = self._count = 0

    @property
    def is_empty(self) -> bool:
        return not self._directions

    def clear(self) -> None:
        """Forgets all messages."""
        with self._lock:
            self._directions.clear()

    def add(self, stamp_ns: int, acceleration: np.ndarray, turn_rate: np.ndarray | None) -> None:
        """Adds a message in the IMU's frame.

        Args:
            acceleration: (3,) m/s², upwards at rest (REP-145).
            turn_rate: (3,) rad/s; None: the IMU has no gyros.

        Raises:
            GravityError: the message cannot be used; nothing has changed.
        """
        _check_stamp(stamp_ns)
        if not np.isfinite(acceleration).all() or (turn_rate is not None and not np.isfinite(turn_rate).all()):
            raise GravityError("imu refused: its acceleration or angular velocity is not finite")
        if not acceleration.any():
            raise GravityError("imu refused: its acceleration is zero; at rest it must be 9.8 m/s² upwards (REP-145)")
        with self._lock:
            elapsed_s = self._elapsed_s(stamp_ns)
            if elapsed_s <= 0:
                return
            if not self._directions:
                self._begun_ns = stamp_ns
                self._count = 0
            self._count += 1
            share = max(1 / self._count, 1 - math.exp(-elapsed_s / self._averaging_s))
            average = self._directions[-1].acceleration if self._directions else acceleration
            if turn_rate is not None and self._directions:
                average = turned(turn_rate * elapsed_s).T @ average
            self._directions.append(_Direction(stamp_ns, average + share * (acceleration - average)))

    def tell(self, stamp_ns: int, up_imu: np.ndarray) -> None:
        """Adds a message of an IMU with its own orientation filter: up (3,) in its frame, a unit vector.

        Raises:
            GravityError: the message cannot be used; nothing has changed.
        """
        _check_stamp(stamp_ns)
        with self._lock:
            if self._elapsed_s(stamp_ns) <= 0:
                return
            if not self._directions:
                self._begun_ns = stamp_ns - round(SETTLED_S * 1e9)  # its own filter has settled
            self._directions.append(_Direction(stamp_ns, STANDARD_GRAVITY * up_imu))

    def at(self, stamp_ns: int) -> np.ndarray:
        """Up (3,) in the IMU's frame, a unit vector.

        Raises:
            GravityError: it is unknown at this stamp; the message says why.
        """
        with self._lock:
            if not self._directions:
                raise GravityError("no imu message has arrived")
            after = bisect.bisect_left(self._directions, stamp_ns, key=lambda direction: direction.stamp_ns)
            near = [self._directions[i] for i in (after - 1, after) if 0 <= i < len(self._directions)]
            begun_ns = self._begun_ns
        found = min(near, key=lambda direction: abs(direction.stamp_ns - stamp_ns))
        if (away_s := (found.stamp_ns - stamp_ns) * 1e-9) and abs(away_s) > MAX_AGE_S:
            when = "newer" if away_s > 0 else "older"
            raise GravityError(f"the nearest imu message is {abs(away_s):.3f} s {when} than the image")
        if (heard_s := (found.stamp_ns - begun_ns) * 1e-9) < SETTLED_S:
            raise GravityError(f"the imu has been heard for {heard_s:.2f} s of {SETTLED_S} s")
        size = float(np.linalg.norm(found.acceleration))
        if abs(size / STANDARD_GRAVITY - 1) > MAX_DEVIATION:
            raise GravityError(f"imu: the mean acceleration is {size:.2f} m/s², not 9.8; is it in m/s², with gravity?")
        return found.acceleration / size

    def _elapsed_s(self, stamp_ns: int) -> float:
        """Since the message before; 0 or less: late or repeated. A long pause forgets all messages before it."""
        elapsed_s = (stamp_ns - self._directions[-1].stamp_ns) * 1e-9 if self._directions else math.inf
        if not -MAX_PAUSE_S < elapsed_s <= MAX_PAUSE_S:
            self._directions.clear()
            return math.inf
        return elapsed_s


def _check_stamp(stamp_ns: int) -> None:
    if stamp_ns <= 0:
        raise GravityError("imu refused: its stamp is zero; the driver must set it")


def turned(rotation_vector: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a rotation vector (3,) in radians (Rodrigues)."""
    angle = float(np.linalg.norm(rotation_vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = rotation_vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def level_from_cam(up_cam: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) from optical axes to z up with x along the view (REP-103); ``up_cam`` (3,) is a unit vector."""
    forward = np.array([0.0, 0.0, 1.0])
    if abs(up_cam[2]) > STEEP:  # the image's top is ahead of a camera that looks down, behind one that looks up
        forward = np.array([0.0, math.copysign(1.0, up_cam[2]), 0.0])
    forward = forward - (forward @ up_cam) * up_cam
    forward /= np.linalg.norm(forward)
    return np.stack([forward, np.cross(up_cam, forward), up_cam])
