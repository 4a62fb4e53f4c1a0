"""Measured depth of a recording, read along with the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...mapping.sensors.odometry import CameraInOdom
from ...mapping.sensors.sparse_depth import DepthError, SparseDepthConfig
from ...sensing.measured_depth import DepthReader
from ...sources.bags.part import message_of
from ...sources.messages import header_stamp_ns
from ...sources.recording import IMAGES, Recording, open_recording
from .mounts import RecordedMounts

OPTION = "--measured-depth"
TYPES = (*IMAGES, "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/LaserScan")
KEPT = 16  # messages: images of several cameras ask for the same ones


class RecordedDepth:
    """One topic. Only a few of its messages are in memory; asking back in time reads the recording again."""

    def __init__(
        self,
        path: Path,
        topic: str,
        config: SparseDepthConfig,
        mounts: RecordedMounts,
        odometry: Callable[[int, str], CameraInOdom] | None,
        camera_frame: str,
    ) -> None:
        """``odometry``: see `DepthReader`.

        Raises:
            DataError: no such topic, no camera_info beside depth images, or no mount on the robot of the camera.
        """
        self._path, self._topic = path, topic
        with open_recording(path) as recording:
            recording.choose(topic, "measured depth", f"{OPTION} TOPIC", TYPES, lambda _: 1)
            info = recording.camera_info_beside(topic) if recording.types[topic] in IMAGES else None
            self._reader = DepthReader(topic, config, mounts.look_up, odometry, info or "the topic beside it")
            self._learn(recording, info)
            mounts.check(camera_frame, recording.first(topic).header.frame_id, f"{OPTION} {topic}")
        self._stamps_ns = np.array([header_stamp_ns(message_of(data)) for data in self._raw()], np.int64)
        self._begin()

    def points(self, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """(N, 3), metres, in a camera at a stamp. Raises DepthError."""
        index = self._reader.nearest(self._stamps_ns, stamp_ns, may_be_late=False)
        return self._reader.points(self._message(index), int(self._stamps_ns[index]), stamp_ns, camera_frame)

    def _learn(self, recording: Recording, info: str | None) -> None:
        """The lens of depth images."""
        if recording.types[self._topic] not in IMAGES:
            return
        if info is not None:
            self._reader.learn(recording.first(info))
        if self._reader.lens_problem:
            raise DataError(f"{self._path}: {OPTION} {self._topic}: {self._reader.lens_problem}")

    def _begin(self) -> None:
        self._messages, self._num_read = self._decoded(), 0
        self._kept: deque[tuple[int, Any]] = deque(maxlen=KEPT)

    def _message(self, index: int) -> Any:
        if index < self._num_read and index not in dict(self._kept):
            self._begin()
        while self._num_read <= index:
            self._kept.append((self._num_read, next(self._messages)))
            self._num_read += 1
        message = dict(self._kept)[index]
        if isinstance(message, DataError):
            raise DepthError(str(message))
        return message

    def _raw(self) -> Iterator[bytes]:
        """Messages with a header, in the order of recording, as far as they can be read."""
        with suppress(DataError), open_recording(self._path) as recording:
            for _, _, data in recording.raw([self._topic]):
                with suppress(DataError):
                    header_stamp_ns(message_of(data))
                    yield data

    def _decoded(self) -> Iterator[Any]:
        """Each message, or why it is none."""
        with open_recording(self._path) as recording:
            for data in self._raw():
                try:
                    yield recording.decode(self._topic, data)
                except DataError as error:
                    yield error
