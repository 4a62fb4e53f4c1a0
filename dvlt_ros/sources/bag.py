"""A bag, MCAP or db3, through rosbags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError
from ..lens import Lens, lens_of_camera_info
from .images import Refusals, SourceImage
from .messages import colour_image, header_stamp_ns, is_colour
from .recording import IMAGES, Recording, base_topic, open_recording


class BagSource:
    """Images of one topic with the camera_info beside it."""

    def __init__(self, path: Path, topic: str | None, frame_id: str) -> None:
        """Raises DataError for an unreadable bag, or one without the one image topic that is asked for."""
        self.refusals = Refusals()
        self._path, self._frame_id = path, frame_id
        with open_recording(path) as recording:
            self._topic = recording.choose(topic, "a colour image", "the topic option", IMAGES, is_colour)
            self._lens = self._read_lens(recording)
            self._count = len(recording.stamps(self._topic))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SourceImage]:
        with open_recording(self._path) as recording:
            for _, _, data in recording.raw([self._topic]):
                try:
                    stamp_ns, message = header_stamp_ns(data), recording.decode(self._topic, data)
                    image = colour_image(message)
                except DataError as error:
                    self.refusals.add(error)
                    continue
                lens = self._lens if self._lens is not None and self._lens.size == image.shape[:2] else None
                yield SourceImage(stamp_ns, message.header.frame_id or self._frame_id, image, lens)

    def _read_lens(self, recording: Recording) -> Lens | None:
        """None for a camera that is not calibrated: its intrinsics are fitted."""
        topic = recording.camera_info_beside(self._topic)
        if topic is None:
            return None
        is_rectified = "rect" in base_topic(self._topic).rpartition("/")[2]
        try:
            return lens_of_camera_info(recording.first(topic), is_rectified)
        except DataError as error:
            self.refusals.first = f"{topic}: {error}"
            return None
