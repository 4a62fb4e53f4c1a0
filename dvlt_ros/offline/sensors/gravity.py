"""Up by a recording: an IMU's messages, or how the camera is mounted on the robot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...mapping.sensors.gravity import MAX_AGE_S, Gravity, GravityConfig, GravityError
from ...sensing.imu import ImuReader
from ...sources.messages import stamp_ns_of
from ...sources.recording import open_recording
from .mounts import RecordedMounts

IMU = "sensor_msgs/msg/Imu"
AHEAD_NS = 10**9  # a stamp that is ahead by more must be agreed with by the one after it
BACKWARDS_NS = 10**9  # an image whose stamp goes back by more is of another run of the clock


class RecordedImu:
    """One topic, read along with the images."""

    def __init__(
        self,
        path: Path,
        topic: str | None,
        config: GravityConfig,
        mounts: RecordedMounts,
        camera_frame: str,
        notify: Callable[[str], None],
    ) -> None:
        """``topic``: None where there is only one. ``notify`` gets the first message that cannot be used.

        Raises:
            DataError: no such topic, several, or no mount on the robot of the camera.
        """
        self._path, self._notify = path, notify
        with open_recording(path) as recording:
            self._topic = recording.choose(topic, "IMU", "--imu TOPIC", (IMU,), lambda _: 1)
            mounts.check(camera_frame, recording.first(self._topic).header.frame_id, f"--gravity imu {self._topic}")
        self._reader = ImuReader(config.imu_averaging_s, mounts.look_up)
        self._asked_ns = 0  # the latest image
        self._begin()

    def level_from_cam(self, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """(3, 3) of a camera at a stamp: x forward as it looks, z up. Raises GravityError."""
        if stamp_ns < self._asked_ns - BACKWARDS_NS:
            self._begin()
        self._asked_ns = stamp_ns
        while self._latest_ns < stamp_ns + MAX_AGE_S * 1e9 and (message := next(self._messages, None)) is not None:
            self._add(message)
        return self._reader.level_from_cam(stamp_ns, camera_frame)

    def _begin(self) -> None:
        self._reader.clear()
        self._messages, self._latest_ns = without_odd_stamps(self._read()), 0

    def _add(self, message: Any) -> None:
        self._latest_ns = stamp_ns_of(message.header)
        try:
            self._reader.add(message)
        except GravityError as error:
            self._notify(f"{self._topic}: {error}")
            self._notify = lambda _: None

    def _read(self) -> Iterator[Any]:
        with open_recording(self._path) as recording:
            for _, message in recording.messages(self._topic):
                yield message


def without_odd_stamps(messages: Iterable[Any]) -> Iterator[Any]:
    """Messages without single ones whose stamp is far ahead of those before and after it."""
    before_ns, held = None, None
    for message in messages:
        stamp_ns = stamp_ns_of(message.header)
        if held is not None:
            held_ns = stamp_ns_of(held.header)
            is_odd = before_ns is not None and held_ns - before_ns > AHEAD_NS and before_ns < stamp_ns < held_ns
            if not is_odd:
                before_ns = held_ns
                yield held
        held = message
    if held is not None:
        yield held


def gravity_of_mount(config: GravityConfig, mounts: RecordedMounts, base_frame: str, camera_frame: str) -> Gravity:
    """The robot's base is level, and TF has the camera on it. Raises DataError: it has not."""
    mounts.check(base_frame, camera_frame, "--gravity mount")

    def level_from_cam(stamp_ns: int, frame_id: str) -> np.ndarray:
        try:
            return mounts.look_up(base_frame, frame_id, stamp_ns)[:3, :3]
        except DataError as error:
            raise GravityError(str(error)) from error

    return Gravity("mount", level_from_cam, config)
