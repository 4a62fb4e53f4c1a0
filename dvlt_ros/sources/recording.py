"""Bags, MCAP or db3, without ROS: topics, stamps and messages. rosbags decodes the messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .bags.files import BagFiles, find_bag
from .bags.message_types import MessageTypes
from .bags.part import BagPart, message_of
from .border import border
from .messages import header_stamp_ns

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF = "tf2_msgs/msg/TFMessage"
FORMATS = ("", "ros2msg", "ros2idl")  # of definitions: those that ROS 2 writes
TRANSPORTS = ("/compressed", "/compressedDepth")  # suffixes of image_transport


class Recording:
    """An open bag."""

    def __init__(self, path: Path, parts: Sequence[BagPart], remarks: Sequence[str] = ()) -> None:
        self.path, self._parts = path, parts
        self.remarks = [*remarks, *(f"{part.path}: {part.problem}" for part in parts if part.problem)]
        self.types: dict[str, str] = {}  # by topic
        self._formats: dict[str, str] = {}  # of the messages' definitions, by topic
        self.counts: Counter[str] = Counter()  # messages by topic
        for part in parts:
            self.counts.update(part.counts)
        for channel in (channel for part in parts for channel in part.channels):
            if self.counts[channel.topic]:
                self.types.setdefault(channel.topic, channel.type)
                self._formats.setdefault(channel.topic, channel.definition_format)
        self._decoder = MessageTypes([channel for part in parts for channel in part.channels])

    def topics_of(self, *types: str) -> list[str]:
        return sorted(topic for topic, kind in self.types.items() if kind in types)

    def raw(self, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, how many of that topic came before, serialised message) in the order of recording.

        Raises:
            DataError: a damaged part, after all that can be read.
        """
        wanted = {topic for topic in topics if topic in self.types}
        counts = dict.fromkeys(topics, 0)
        damage: DataError | None = None
        for part in self._parts if wanted else ():
            try:
                for topic, _, data in part.messages(wanted):
                    yield topic, counts[topic], data
                    counts[topic] += 1
            except DataError as error:
                damage = damage or error
        if damage is not None:
            raise damage

    def decode(self, topic: str, data: bytes) -> Any:
        """A message object.

        Raises:
            DataError: data that is not such a message.
        """
        try:
            with border(topic, "a message does not decode"):
                return self._decoder.decode(message_of(data), self.types[topic])
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error

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
            DataError: there is none; it says why.
        """
        cause = ""
        try:
            for _, _, data in self.raw([topic]):
                try:
                    return self.decode(topic, data)
                except DataError as error:
                    cause = cause or f"; {error}"
        except DataError as error:
            cause = cause or f"; {error}"
        raise DataError(f"{self.path}: {topic}: no message can be read{cause}")

    def stamps(self, topic: str) -> np.ndarray:
        """Header stamps (N,) in ns of all messages, int64; -1 for a message without one."""
        stamps = []
        for _, _, data in self.raw([topic]):
            try:
                stamps.append(header_stamp_ns(message_of(data)))
            except DataError:
                stamps.append(-1)
        return np.array(stamps, dtype=np.int64)

    def choose(
        self, asked: str | None, what: str, option: str, types: Sequence[str], fits: Callable[[Any], int],
        apart: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """The topic that was asked for, or the only one of these types whose first message fits best.

        Of a raw topic and its compressed copy the raw one counts. ``fits`` is 0 for a message of something else; it
        may raise DataError with the reason. Topics ``apart`` are known to be something else.

        Raises:
            DataError: no such topic, another type, none that fits, or several; it lists the candidates and says why
                the others are none.
        """
        if asked is not None:
            if asked not in self.types:
                raise DataError(f"{self.path}: no messages on {asked}; topics: {self._listed()}")
            if self.types[asked] not in types:
                raise DataError(f"{self.path}: {asked} is {self.types[asked]}, {what} is one of {tuple(types)}")
            return asked
        ranks, reasons = self._ranked([topic for topic in self.topics_of(*types) if topic not in apart], fits)
        fitting = [topic for topic, rank in ranks.items() if rank and rank == max(ranks.values())]
        raw = [topic for topic in fitting if base_topic(topic) == topic]
        candidates = raw + [topic for topic in fitting if topic not in raw and base_topic(topic) not in raw]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            found = f"several topics could be {what}: {candidates}; choose one with {option}"
        else:
            found = "; ".join([f"no topic with {what}", *reasons])
        raise DataError(f"{self.path}: {found}; topics: {self._listed()}")

    def _listed(self) -> str:
        """All topics with their types, and with the format of what ROS 2 does not write."""
        found = []
        for topic, kind in sorted(self.types.items()):
            form = self._formats.get(topic, "")
            found.append(f"{topic} ({kind}{f' as {form}, which is not read' if form not in FORMATS else ''})")
        return ", ".join(found) or "none"

    def _ranked(self, topics: Sequence[str], fits: Callable[[Any], int]) -> tuple[dict[str, int], list[str]]:
        """How well each of these topics fits, and why those that do not."""
        ranks: dict[str, int] = {}
        reasons = []
        for topic in topics:
            try:
                message = self.first(topic)
                with border(topic, "a message with other fields"):
                    ranks[topic] = int(fits(message))
            except DataError as error:
                text = str(error).removeprefix(f"{self.path}: ")
                reasons.append(text if topic in text else f"{topic}: {text}")
        return ranks, reasons

    def camera_info_beside(self, image_topic: str) -> str | None:
        """The camera_info topic in an image topic's namespace, if there is one."""
        topic = base_topic(image_topic).rpartition("/")[0] + "/camera_info"
        return topic if self.types.get(topic) == CAMERA_INFO else None


@contextmanager
def open_recording(path: str | Path | BagFiles) -> Iterator[Recording]:
    """A bag folder, with metadata.yaml or without, or one of its files; also those that are cut off or compressed.

    Raises:
        DataError: no bag there, or one of which nothing can be read.
        ImportError: rosbags is not installed.
    """
    files = path if isinstance(path, BagFiles) else find_bag(Path(path))
    parts: list[BagPart] = []
    refused: list[DataError] = []
    try:
        for part in files.open_parts():
            if isinstance(part, DataError):
                refused.append(part)
            else:
                parts.append(part)
        if not parts:
            raise refused[0]
        yield Recording(files.path, parts, [*files.remarks, *map(str, refused)])
    finally:
        for part in parts:
            part.close()


def base_topic(topic: str) -> str:
    """An image topic without the suffix of its transport."""
    for suffix in TRANSPORTS:
        topic = topic.removesuffix(suffix)
    return topic
