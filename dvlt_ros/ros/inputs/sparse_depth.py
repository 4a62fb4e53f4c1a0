"""Measured depth in: the latest depth images, clouds or laser scans, as points in a camera at an image's stamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

from ...mapping.sensors.odometry import CameraInOdom
from ...mapping.sensors.sparse_depth import DepthError, SparseDepthConfig
from ...sensing.measured_depth import DepthReader
from ...sources.messages import stamp_ns_of
from ..config import NodeConfig
from .following import FollowingSubscription
from .mounts import look_up_with
from .tf_tree import TfTree

TOPICS: dict[str, tuple[type, str]] = {
    "image": (Image, "sparse_depth/image"),
    "cloud": (PointCloud2, "sparse_depth/points"),
    "scan": (LaserScan, "scan"),
}
KEPT = 60  # messages: 2 s of depth images, 6 s of a laser
BACKWARDS_NS = 10**9  # a stamp that goes back by more is of another run of the clock
QUEUE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST)
Measurement: TypeAlias = Image | PointCloud2 | LaserScan


class SparseDepthIntake:
    """Keeps the latest messages undecoded; any thread but the executor's may call `points`."""

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        depth: SparseDepthConfig,
        tree: TfTree,
        odometry: Callable[[int, str], CameraInOdom] | None,
    ) -> None:
        """``odometry`` gives a frame of the robot at a stamp: with it the motion between two stamps is known."""
        self._messages: tuple[tuple[int, Measurement], ...] = ()  # replaced at once: another thread looks into it
        kind, topic = TOPICS[config.measured_depth.source]
        topic, info_topic = node.resolve_topic_name(topic), node.resolve_topic_name("sparse_depth/camera_info")
        self._reader = DepthReader(topic, depth, look_up_with(config.frames.prefix, tree), odometry, info_topic)
        self._subscriptions = [FollowingSubscription(node, kind, topic, self._on_message, "auto", QUEUE)]
        if config.measured_depth.source == "image":
            info = FollowingSubscription(node, CameraInfo, info_topic, self._on_info, "auto", QUEUE, is_state=True)
            self._subscriptions.append(info)

    def follow(self) -> None:
        for subscription in self._subscriptions:
            subscription.follow()

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()

    def points(self, stamp_ns: int, frame_id: str) -> np.ndarray:
        """(N, 3), metres, in a camera at a stamp.

        Raises:
            DepthError: there is no measurement at that stamp, it cannot be used, or the sensor's pose is not known.
        """
        sensor, messages = self._subscriptions[0], self._messages
        if not messages and sensor.refusal:
            raise DepthError(f"all that has arrived on {sensor.topic} was refused: {sensor.refusal}")
        if not messages:
            publishers = "" if sensor.num_publishers else ", which has no publisher"
            raise DepthError(f"nothing has arrived on {sensor.topic}{publishers}")
        stamps_ns = np.array([measured_ns for measured_ns, _ in messages])
        measured_ns, message = messages[self._reader.nearest(stamps_ns, stamp_ns, may_be_late=True)]
        return self._reader.points(message, measured_ns, stamp_ns, frame_id)

    def _on_message(self, message: Measurement, _: dict[str, int]) -> None:
        if (stamp_ns := stamp_ns_of(message.header)) <= 0:
            raise DepthError(f"its stamp is {stamp_ns * 1e-9:.3f} s")
        if self._messages and self._messages[-1][0] - stamp_ns > BACKWARDS_NS:
            self._messages = ()
        self._messages = (*self._messages[1 - KEPT :], (stamp_ns, message))

    def _on_info(self, message: CameraInfo) -> None:
        self._reader.learn(message)
