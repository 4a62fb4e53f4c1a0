"""A bag as a source of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...frame_names import frame_name
from ...imaging import ImageDecoder, View
from ...lens import Lens, lens_of_camera_info
from ..border import border
from ..images import Refusals, SourceImage
from ..messages import is_colour, stamp_ns_of
from ..recording import IMAGES, Recording, base_topic, open_recording
from ..times import MAX_NS
from .files import find_bag
from .masks import BagMasks, mask_topics


class BagSource:
    """Images of one topic with the camera_info beside it, each one of which holds until the next, and their masks."""

    has_times = True

    def __init__(
        self, path: Path, topic: str | None, frame_id: str, mask_topic: str | None = None, camera: str = ""
    ) -> None:
        """Raises DataError for an unreadable bag, or one without the topics that are asked for.

        ``camera``: its name, of a rig.
        """
        self.refusals, self.camera_problem = Refusals(), ""
        self._path, self._frame_id = path, frame_name(frame_id)
        self._files = find_bag(path)
        with open_recording(self._files) as recording:
            self.remarks = list(recording.remarks)
            masks = mask_topics(recording, mask_topic, camera)
            self._topic = recording.choose(topic, "a colour image", "the topic option", IMAGES, is_colour, masks)
            self._info_topic = recording.camera_info_beside(self._topic)
            self._first_lens = self._read_lens(recording)
            self._count = recording.counts[self._topic]
            self._mask_topic = masks[0] if len(masks) == 1 else None
            if self._mask_topic is not None:
                self.remarks.append(f"{recording.counts[self._mask_topic]} masks on {self._mask_topic}")
            elif masks:
                self.remarks.append(f"several topics have masks, none is used: {masks}; --mask-topic chooses one")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SourceImage]:
        """A damaged bag gives the images that can be read; the others are refused at the end."""
        self.refusals.clear()
        seen = 0
        try:
            with open_recording(self._files) as recording, BagMasks(self._files, self._mask_topic) as masks:
                for message in self._messages(recording, masks):
                    seen += 1
                    if isinstance(message, SourceImage):
                        yield message
                    else:
                        self.refusals.add(message, name=f"{self._topic}, image {seen}")
        except DataError as error:
            self.refusals.add(error, max(1, self._count - seen))

    def _messages(self, recording: Recording, masks: BagMasks) -> Iterator[SourceImage | DataError]:
        lens, decoder = self._first_lens, ImageDecoder()
        for topic, _, data in recording.raw([self._topic, *([self._info_topic] if self._info_topic else [])]):
            try:
                message = recording.decode(topic, data)
                with border(topic, "a message with other fields"):
                    if topic != self._topic:
                        lens = self._lens_of(message)
                        continue
                    image = self._image_of(message, lens, decoder, masks)
                yield image
            except DataError as error:
                if topic == self._topic:
                    yield error

    def _read_lens(self, recording: Recording) -> Lens | None:
        """The first one, for images that come before it."""
        if self._info_topic is None:
            return None
        try:
            with border(self._info_topic, "a message with other fields"):
                return self._lens_of(recording.first(self._info_topic))
        except DataError as error:
            self.camera_problem = str(error)
            return None

    def _image_of(self, message: Any, lens: Lens | None, decoder: ImageDecoder, masks: BagMasks) -> SourceImage:
        stamp_ns = stamp_ns_of(message.header)
        if not 0 < stamp_ns < MAX_NS:
            found = "zero" if not stamp_ns else f"{stamp_ns * 1e-9:.3f} s"
            raise DataError(f"{self._path}: {self._topic}: an image's stamp is {found}")
        image = decoder.colour(message)
        try:
            View(image, lens)
        except DataError as error:
            self.camera_problem, lens = f"{self._info_topic}: {error}", None
        masked = masks.of(stamp_ns, (image.shape[0], image.shape[1]), lens)
        frame_id = frame_name(message.header.frame_id) or self._frame_id
        return SourceImage(stamp_ns, frame_id, image, lens, masked=masked)

    def _lens_of(self, message: Any) -> Lens | None:
        """None for a camera that is not calibrated: its intrinsics are fitted."""
        is_rectified = base_topic(self._topic).rpartition("/")[2].startswith("image_rect")
        try:
            return lens_of_camera_info(message, is_rectified)
        except DataError as error:
            self.camera_problem = f"{self._info_topic}: {error}"
            return None
