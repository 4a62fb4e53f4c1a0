"""Images and camera_info: callbacks keep references, the mapping thread decodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ...errors import InputError
from ...frame_names import frame_name
from ...health import Health
from ...imaging import ImageDecoder, View
from ...lens import Lens, lens_of_camera_info
from ...mapping.data.frames import Frame, Picture
from ...sources.messages import UNSET, stamp_ns_of
from ..config import NodeConfig
from ..status_board import StatusBoard
from .following import FollowingSubscription
from .masks import MaskIntake

MAX_CAMERAS = 16  # frames and sizes whose camera_info is kept
MAX_TRANSIT_NS = 10 * 10**9  # an older receive time is of another clock


class Intake:
    """Turns image messages of one camera into frames, which the mapper decodes when it needs them."""

    def __init__(
        self, node: Node, config: NodeConfig, offer: Callable[[Frame], None], board: StatusBoard, camera: str = ""
    ) -> None:
        """The topics of a rig's ``camera`` begin with its name; problems of its camera_info go to ``board``."""
        self._camera = camera
        self._config, self._offer = config, offer
        self._lenses: dict[tuple[str, tuple[int, int]], Lens] = {}
        self._decoder = ImageDecoder()  # used by the worker alone
        self._last_ns = time.monotonic_ns()
        self.has_images = False  # since the subscription
        self.frame_id = ""  # of the latest image
        self._board = board
        self.masks = MaskIntake(node, config.masks, board, camera) if config.masks.source == "image" else None
        topics = f"{camera}/" if camera else ""
        kind, topic = Image, node.resolve_topic_name(f"{topics}image")
        if config.input.transport == "compressed":
            kind, topic = CompressedImage, f"{topic}/compressed"
        self.images = FollowingSubscription(node, kind, topic, self._on_image, config.input.reliability)
        self.infos = FollowingSubscription(
            node, CameraInfo, f"{topics}camera_info", self._on_info, "auto", is_state=True
        )
        self._topics: list[FollowingSubscription | MaskIntake] = [self.images, self.infos]
        self._topics += [] if self.masks is None else [self.masks]

    @property
    def silence_s(self) -> float:
        """Seconds since the last image, or since the subscription."""
        return (time.monotonic_ns() - self._last_ns) * 1e-9

    def follow(self) -> None:
        for topic in self._topics:
            topic.follow()

    def close(self) -> None:
        for topic in self._topics:
            topic.close()

    def _on_image(self, message: Image | CompressedImage, info: dict[str, int]) -> None:
        received_ns = self._last_ns = receive_time_ns(info)
        self.has_images, self.frame_id = True, self._frame_of(message)
        stamp_ns, load = stamp_ns_of(message.header), partial(self._load, message)
        problem = "" if stamp_ns else UNSET
        self._offer(Frame(stamp_ns, self.frame_id, received_ns, load, self._camera, problem=problem))

    def _on_info(self, message: CameraInfo) -> None:
        """Keeps the lens by frame_id and image size."""
        try:
            lens = lens_of_camera_info(message, self._config.input.is_rectified)
        except InputError as error:
            self._post_camera_info(str(error))
            return
        key = frame_name(message.header.frame_id), lens.size
        lenses = {known: lens for known, lens in self._lenses.items() if known != key} | {key: lens}
        if len(lenses) > MAX_CAMERAS:
            del lenses[next(iter(lenses))]
        self._lenses = lenses  # replaced as a whole: the mapping thread may read it at any time

    def _load(self, message: Image | CompressedImage) -> Picture:
        """Raises InputError for an image without frame, pixels or a known encoding; the node goes on."""
        frame = self._frame_of(message)
        if not frame:
            raise InputError("it has no frame_id; the driver must set it, or input.camera_frame here")
        try:
            image = self._decoder.colour(message)
        except InputError as error:
            raise InputError(f"it does not decode: {error}") from error
        height, width = image.shape[:2]
        lens = self._lens_of(frame_name(message.header.frame_id), (height, width))
        masked = None if self.masks is None else self.masks.masked(stamp_ns_of(message.header), (height, width), lens)
        view = View(image, lens).pinhole()
        return Picture(view.image, None if view.lens is None else view.lens.intrinsics, masked=masked)

    def _frame_of(self, message: Image | CompressedImage) -> str:
        return frame_name(message.header.frame_id) or frame_name(self._config.input.camera_frame)

    def _lens_of(self, frame: str, size: tuple[int, int]) -> Lens | None:
        """The camera_info of an image's frame, else the only one of its size: it came on the topic beside it."""
        lenses = self._lenses
        if (lens := lenses.get((frame, size))) is not None:
            self._post_camera_info("")
            return lens
        others = [(other, lens) for (other, its_size), lens in lenses.items() if its_size == size]
        if len(others) == 1:
            (other, lens) = others[0]
            self._post_camera_info(f"its frame_id is '{other}', that of the images '{frame}'; it is used all the same")
            return lens
        if lenses:
            known = ", ".join(f"'{other}' {size[1]} x {size[0]}" for other, size in lenses)
            self._post_camera_info(f"none for '{frame}' {size[1]} x {size[0]}, only for {known}")
        return None

    def _post_camera_info(self, problem: str) -> None:
        """An empty text: there is no problem."""
        text = f"camera_info: {problem}" if problem else ""
        self._board.post("camera_info", Health.unless(text), source=self._camera)


def receive_time_ns(info: dict[str, int]) -> int:
    """Receive time of a message on the steady clock; the current time if the middleware does not give it."""
    now_ns, received_ns = time.monotonic_ns(), info.get("received_timestamp", 0)
    transit_ns = time.time_ns() - received_ns
    return now_ns - transit_ns if received_ns > 0 and 0 <= transit_ns < MAX_TRANSIT_NS else now_ns
