"""Several image topics of one bag as a rig of cameras."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import DataError
from ..images import Refusals, SourceImage
from ..recording import base_topic
from .source import BagSource


class RigSource:
    """Images with their camera's name, merged in the order of their stamps; each camera has its own camera_info."""

    has_times = True

    def __init__(self, path: Path, topics: Sequence[str], frame_id: str) -> None:
        """Raises DataError for an unreadable bag, or a topic that has no images."""
        names = camera_names(topics)
        named = zip(names, topics, strict=True)
        self.cameras = {name: BagSource(path, topic, frame_id, camera=name) for name, topic in named}
        self.remarks = list(dict.fromkeys(remark for source in self.cameras.values() for remark in source.remarks))

    @property
    def refusals(self) -> Refusals:
        """Of all cameras."""
        found = Refusals()
        for source in self.cameras.values():
            for reason, (count, first) in source.refusals.kinds.items():
                found.add(reason, count, first.removesuffix(reason).removesuffix(": "))
        found.count = sum(source.refusals.count for source in self.cameras.values())
        found.listed = [text for source in self.cameras.values() for text in source.refusals.listed]
        return found

    @property
    def camera_problem(self) -> str:
        return "; ".join(source.camera_problem for source in self.cameras.values() if source.camera_problem)

    def __len__(self) -> int:
        return sum(map(len, self.cameras.values()))

    def __iter__(self) -> Iterator[SourceImage]:
        return heapq.merge(*map(_named, self.cameras, self.cameras.values()), key=lambda image: image.stamp_ns)


def camera_names(topics: Sequence[str]) -> tuple[str, ...]:
    """What the node calls cameras with these topics: their namespaces, ``left`` for ``/left/image_raw``.

    Where two have the same one, or there is none, names are whole topics.

    Raises:
        DataError: fewer than two topics, or one of them twice.
    """
    if len(topics) < 2 or len(set(topics)) < len(topics):
        raise DataError(f"--cameras needs two image topics or more, each once, got {' '.join(topics)}")
    spaces = [base_topic(topic).rpartition("/")[0].strip("/") for topic in topics]
    return tuple(spaces if all(spaces) and len(set(spaces)) == len(spaces) else (topic.strip("/") for topic in topics))


def _named(name: str, source: BagSource) -> Iterator[SourceImage]:
    for image in source:
        yield replace(image, camera=name)
