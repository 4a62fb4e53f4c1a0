"""Masks of a bag's images: a topic as the node's `mask/image`, with the stamps of the images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from ...errors import DataError
from ...imaging.masks import SAME_NS, mask_of_message
from ...lens import Lens
from ..border import border
from ..messages import stamp_ns_of
from ..recording import Recording, open_recording
from .files import BagFiles

IMAGE = "sensor_msgs/msg/Image"
NAME = "mask/image"


def mask_topics(recording: Recording, asked: str | None, camera: str = "") -> list[str]:
    """The topic that was asked for; else all that are called ``mask/image``, in any namespace.

    ``camera``: of a rig, whose topics are called ``left/mask/image``.

    Raises:
        DataError: no such topic, or one of another type.
    """
    if asked is not None:
        if (kind := recording.types.get(asked)) != IMAGE:
            found = "no messages" if kind is None else f"it is {kind}, masks are {IMAGE}"
            raise DataError(f"{recording.path}: {asked}: {found}")
        return [asked]
    name = f"{camera}/{NAME}" if camera else NAME
    return [topic for topic in recording.topics_of(IMAGE) if f"/{topic}".endswith(f"/{name}")]


class BagMasks:
    """Read beside the images, in the order of their stamps: a mask may be recorded long after its image."""

    def __init__(self, files: BagFiles, topic: str | None) -> None:
        """``topic`` None: there are no masks."""
        self._topic, self._open = topic, ExitStack()
        self._messages: Iterator[tuple[str, Any]] = iter(())
        if topic is not None:
            self._messages = self._open.enter_context(open_recording(files)).messages(topic)
        self._next: tuple[int, Any] | None = None

    def __enter__(self) -> BagMasks:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def of(self, stamp_ns: int, size: tuple[int, int], lens: Lens | None) -> np.ndarray | None:
        """(H, W) bool of the undistorted image, True where it is masked; None: the image has no mask.

        Raises:
            DataError: the mask has another size than the image (height, width), or its encoding is not read.
        """
        while self._next is None or self._next[0] <= stamp_ns - SAME_NS:
            found = next(self._messages, None)
            if found is None:
                return None
            with border(found[0], "a message with other fields"):
                self._next = stamp_ns_of(found[1].header), found[1]
        if self._next[0] >= stamp_ns + SAME_NS:
            return None
        return mask_of_message(self._next[1], size, lens)
