"""Masks in: `mask/image`, as a segmentation node publishes it with the stamp of the image that it has looked at."""

from __future__ import annotations

import threading

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import Image

from ...health import Health
from ...imaging.masks import SAME_NS, mask_of_message
from ...lens import Lens
from ...sources.messages import stamp_ns_of
from ..config import MaskSourceConfig
from ..status_board import StatusBoard
from .following import FollowingSubscription

KEPT = 60
QUEUE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST)


class MaskIntake:
    """Keeps the latest messages of one camera undecoded; any thread but the executor's may call `masked`."""

    def __init__(self, node: Node, config: MaskSourceConfig, board: StatusBoard, camera: str = "") -> None:
        """The topic of a rig's ``camera`` begins with its name; images without a mask are told to ``board``."""
        self._config, self._board, self._camera = config, board, camera
        self._news = threading.Condition()
        self._messages: dict[int, Image] = {}  # by stamp, oldest first
        self._missing = 0
        topic = node.resolve_topic_name(f"{camera}/mask/image" if camera else "mask/image")
        self._subscription = FollowingSubscription(node, Image, topic, self._on_message, "auto", QUEUE)

    def follow(self) -> None:
        self._subscription.follow()

    def close(self) -> None:
        self._subscription.close()

    def masked(self, stamp_ns: int, size: tuple[int, int], lens: Lens | None) -> np.ndarray | None:
        """(H, W) bool of an undistorted image; None: no mask has come in time, which is counted.

        Raises:
            DataError: the mask is of another size than the image (height, width), or its encoding is not read.
        """
        with self._news:
            self._news.wait_for(lambda: self._at(stamp_ns) is not None or self._is_past(stamp_ns), self._config.wait_s)
            message = self._at(stamp_ns)
        if message is None:
            self._missing += 1
            silence = f": {self._subscription.silence()}" if not self._messages else ""
            topic = self._subscription.topic
            self._post(Health.warn(f"{self._missing} images had no mask on {topic} with their stamp{silence}"))
            return None
        self._post(Health.ok())
        return mask_of_message(message, size, lens)

    def _post(self, health: Health) -> None:
        self._board.post("masks", health, {"masks_missing": str(self._missing)}, source=self._camera)

    def _at(self, stamp_ns: int) -> Image | None:
        return next((m for known, m in self._messages.items() if abs(known - stamp_ns) < SAME_NS), None)

    def _is_past(self, stamp_ns: int) -> bool:
        """Whether the mask of a later image is there: this one's will not come."""
        return any(known >= stamp_ns + SAME_NS for known in self._messages)

    def _on_message(self, message: Image) -> None:
        with self._news:
            self._messages[stamp_ns_of(message.header)] = message
            if len(self._messages) > KEPT:
                del self._messages[next(iter(self._messages))]
            self._news.notify_all()
