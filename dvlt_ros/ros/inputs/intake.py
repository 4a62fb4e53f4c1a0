"""Images and camera_info: callbacks keep references, the mapping thread decodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ...errors import InputError
from ...lens import Lens, lens_of_camera_info, rectification
from ...mapping.data.frames import Frame, Picture
from ..config import NodeConfig, Reliability

QUEUE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST)
MAX_CAMERAS = 16  # frames and sizes whose camera_info is kept
MAX_TRANSIT_NS = 10 * 10**9  # an older receive time is of another clock


class FollowingSubscription:
    """A subscription whose reliability is what all publishers offer, looked at anew by `follow`.

    A reliable subscription does not match best-effort publishers, and a best-effort one loses big images from
    reliable ones; so neither is right before the publishers are known.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[..., None], reliability: Reliability,
        qos: QoSProfile = QUEUE,
    ) -> None:  # fmt: skip
        self._node = node
        self._kind = kind
        self._callback = callback
        self._asked = reliability
        self._qos = qos
        self.topic = node.resolve_topic_name(topic)
        self.reliability = ReliabilityPolicy.BEST_EFFORT if reliability == "best_effort" else ReliabilityPolicy.RELIABLE
        self._subscription = self._subscribe()

    def follow(self) -> None:
        if self._asked != "auto":
            return
        offers = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)]
        if not offers:
            return
        reliable = all(offer == ReliabilityPolicy.RELIABLE for offer in offers)
        wanted = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        if wanted != self.reliability:
            self.reliability = wanted
            self.close()
            self._subscription = self._subscribe()

    @property
    def num_publishers(self) -> int:
        return self._node.count_publishers(self.topic)

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Subscription[Any]:
        qos = QoSProfile(depth=self._qos.depth, history=self._qos.history, reliability=self.reliability)
        quiet = SubscriptionEventCallbacks(incompatible_qos=lambda _: None, use_default_callbacks=False)
        return self._node.create_subscription(self._kind, self.topic, self._callback, qos, event_callbacks=quiet)


class Intake:
    """Turns image messages of one camera into frames, which the mapper decodes when it needs them."""

    def __init__(self, node: Node, config: NodeConfig, offer: Callable[[Frame], None], camera: str = "") -> None:
        """The topics of a rig's ``camera`` begin with its name."""
        self._camera = camera
        self._config, self._offer = config, offer
        self._lenses: dict[tuple[str, tuple[int, int]], Lens] = {}
        self._bridge = CvBridge()
        self._last_ns = time.monotonic_ns()
        self.camera_info_problem = ""
        topics = f"{camera}/" if camera else ""
        kind, topic = Image, node.resolve_topic_name(f"{topics}image")
        if config.input.transport == "compressed":
            kind, topic = CompressedImage, f"{topic}/compressed"
        self.images = FollowingSubscription(node, kind, topic, self._on_image, config.input.reliability)
        self.infos = FollowingSubscription(node, CameraInfo, f"{topics}camera_info", self._on_info, "auto")

    @property
    def silence_s(self) -> float:
        """Seconds since the last image, or since the subscription."""
        return (time.monotonic_ns() - self._last_ns) * 1e-9

    def follow(self) -> None:
        self.images.follow()
        self.infos.follow()

    def close(self) -> None:
        self.images.close()
        self.infos.close()

    def _on_image(self, message: Image | CompressedImage, info: dict[str, int]) -> None:
        received_ns = self._last_ns = receive_time_ns(info)
        self._offer(
            Frame(
                Time.from_msg(message.header.stamp).nanoseconds,
                message.header.frame_id or self._config.input.camera_frame,
                received_ns,
                partial(self._load, message),
                self._camera,
            )
        )

    def _on_info(self, message: CameraInfo) -> None:
        """Keeps the lens by frame_id and image size."""
        try:
            lens = lens_of_camera_info(message, self._config.input.is_rectified)
        except InputError as error:
            self.camera_info_problem = str(error)
            return
        key = message.header.frame_id, lens.size
        lenses = {known: lens for known, lens in self._lenses.items() if known != key} | {key: lens}
        if len(lenses) > MAX_CAMERAS:
            del lenses[next(iter(lenses))]
        self._lenses = lenses  # replaced as a whole: the mapping thread may read it at any time

    def _load(self, message: Image | CompressedImage) -> Picture:
        """Raises InputError for an image without frame, pixels or a known encoding; the node goes on."""
        if not (message.header.frame_id or self._config.input.camera_frame):
            raise InputError("it has no frame_id; the driver must set it, or input.camera_frame here")
        image = self._decode(message)
        key = message.header.frame_id, image.shape[:2]
        lens = self._lenses.get(key)
        if lens is None:
            if self._lenses:
                known = ", ".join(f"'{frame}' {size[1]} x {size[0]}" for frame, size in self._lenses)
                self.camera_info_problem = f"none for '{key[0]}' {key[1][1]} x {key[1][0]}, only for {known}"
            return Picture(image, None)
        self.camera_info_problem = ""
        if not lens.is_distorted:
            return Picture(image, lens.intrinsics)
        pinhole = rectification(lens)
        return Picture(pinhole.image(image), pinhole.intrinsics)

    def _decode(self, message: Image | CompressedImage) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        try:
            if isinstance(message, CompressedImage):
                image = self._bridge.compressed_imgmsg_to_cv2(message, "rgb8")
            elif not (message.width and message.height):
                raise InputError(f"it is {message.width} x {message.height} pixels")
            elif len(message.data) < message.step * message.height:
                raise InputError(f"it is truncated: {len(message.data)} bytes of {message.step * message.height}")
            else:
                image = self._bridge.imgmsg_to_cv2(message, "rgb8")
        except (CvBridgeError, cv2.error, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"it does not decode: {error}") from error
        return image


def receive_time_ns(info: dict[str, int]) -> int:
    """Receive time of a message on the steady clock; the current time if the middleware does not give it."""
    now_ns, received_ns = time.monotonic_ns(), info.get("received_timestamp", 0)
    transit_ns = time.time_ns() - received_ns
    return now_ns - transit_ns if received_ns > 0 and 0 <= transit_ns < MAX_TRANSIT_NS else now_ns
