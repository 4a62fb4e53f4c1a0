"""Bags, MCAP or db3, read through rosbags, without ROS: topics, stamps and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .messages import header_stamp_ns

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF = "tf2_msgs/msg/TFMessage"
TRANSPORTS = ("/compressed", "/compressedDepth")  # suffixes of image_transport
INSTALL = "pip install 'rosbags>=0.11,<0.12'"


class Recording:
    """An open bag."""

    def __init__(self, path: Path, reader: Any) -> None:
        self.path, self._reader = path, reader
        self.types: dict[str, str] = {}  # by topic
        self.counts: Counter[str] = Counter()  # messages by topic
        for connection in reader.connections:
            if connection.msgcount:
                self.types[connection.topic] = connection.msgtype
                self.counts[connection.topic] += connection.msgcount

    def topics_of(self, *types: str) -> list[str]:
        return sorted(topic for topic, kind in self.types.items() if kind in types)

    def raw(self, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, how many of that topic came before, serialised message) in the order of recording.

        Raises:
            DataError: a damaged part on the way.
        """
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        counts = dict.fromkeys(topics, 0)
        if not connections:
            return
        messages = self._reader.messages(connections=connections)
        while True:
            try:
                connection, _, data = next(messages)
            except StopIteration:
                return
            except Exception as error:  # rosbags', SQLite's and the decompressors' own
                raise DataError(f"{self.path}: damaged bag: {error}") from error
            yield connection.topic, counts[connection.topic], data
            counts[connection.topic] += 1

    def decode(self, topic: str, data: bytes) -> Any:
        """A message object.

        Raises:
            DataError: data that is not such a message.
        """
        try:
            return self._reader.deserialize(data, self.types[topic])
        except Exception as error:  # rosbags raises its own, struct's and numpy's errors on damaged data
            raise DataError(f"{self.path}: {topic}: a message does not decode: {error}") from error

    def messages(self, *topics: str) -> Iterator[tuple[str, Any]]:
        """(topic, message) of several topics in the order of recording; damaged ones are left out."""
        for topic, _, data in self.raw(topics):
            try:
                message = self.decode(topic, data)
            except DataError:
                continue
            yield topic, message

    def first(self, topic: str) -> Any:
        """The first message of a topic that can be decoded.

        Raises:
            DataError: there is none.
        """
        for _, message in self.messages(topic):
            return message
        raise DataError(f"{self.path}: {topic}: no message can be read")

    def stamps(self, topic: str) -> np.ndarray:
        """Header stamps (N,) in ns of all messages, int64; -1 for a message without one."""
        stamps = []
        for _, _, data in self.raw([topic]):
            try:
                stamps.append(header_stamp_ns(data))
            except DataError:
                stamps.append(-1)
        return np.array(stamps, dtype=np.int64)

    def choose(
        self, asked: str | None, what: str, option: str, types: Sequence[str], fits: Callable[[Any], bool]
    ) -> str:
        """The topic that was asked for, or the only one of these types whose first message fits.

        Of a raw topic and its compressed copy the raw one counts.

        Raises:
            DataError: no such topic, another type, none that fits, or several; it lists the candidates.
        """
        if asked is not None:
            if asked not in self.types:
                raise DataError(f"{self.path}: no messages on {asked}; topics: {sorted(self.types)}")
            if self.types[asked] not in types:
                raise DataError(f"{self.path}: {asked} is {self.types[asked]}, {what} is one of {tuple(types)}")
            return asked
        fitting = [topic for topic in self.topics_of(*types) if self._fits(topic, fits)]
        raw = [topic for topic in fitting if base_topic(topic) == topic]
        candidates = raw + [topic for topic in fitting if topic not in raw and base_topic(topic) not in raw]
        if len(candidates) == 1:
            return candidates[0]
        found = f"several topics could be {what}: {candidates}" if candidates else f"no topic with {what}"
        raise DataError(f"{self.path}: {found}; choose one with {option}; topics: {sorted(self.types)}")

    def _fits(self, topic: str, fits: Callable[[Any], bool]) -> bool:
        try:
            return fits(self.first(topic))
        except DataError:
            return False

    def camera_info_beside(self, image_topic: str) -> str | None:
        """The camera_info topic in an image topic's namespace, if there is one."""
        topic = base_topic(image_topic).rpartition("/")[0] + "/camera_info"
        return topic if self.types.get(topic) == CAMERA_INFO else None


@contextmanager
def open_recording(path: str | Path) -> Iterator[Recording]:
    """A bag folder, or a single .mcap or .db3 file.

    Raises:
        DataError: no bag there, or one that rosbags cannot read.
        ImportError: rosbags is not installed.
    """
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ImportError(f"reading bags needs rosbags: {INSTALL}") from error

    if not Path(path).exists():
        raise DataError(f"{path}: no such bag")
    try:
        reader = AnyReader([Path(path)], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except (AnyReaderError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable bag: {error}") from error
    try:
        yield Recording(Path(path), reader)
    finally:
        reader.close()


def base_topic(topic: str) -> str:
    """An image topic without the suffix of its transport."""
    for suffix in TRANSPORTS:
        topic = topic.removesuffix(suffix)
    return topic
