"""Fills a Buffer from /tf and /tf_static."""

from __future__ import annotations

import contextlib
from threading import Thread
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from .buffer import Buffer

AUTHORITY = "default_authority"


class TransformListener:
    def __init__(
        self, buffer: Buffer, node: Any, *, spin_thread: bool = False,
        qos: QoSProfile | int | None = None, static_qos: QoSProfile | int | None = None,
        tf_topic: str = "/tf", tf_static_topic: str = "/tf_static",
    ) -> None:  # fmt: skip
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.buffer, self.node = buffer, node
        self.group = ReentrantCallbackGroup()  # a callback may wait for a transform
        self.tf_sub = node.create_subscription(
            TFMessage, tf_topic, self.callback, QoSProfile(depth=100) if qos is None else qos, callback_group=self.group
        )
        self.tf_static_sub = node.create_subscription(
            TFMessage, tf_static_topic, self.static_callback, latched if static_qos is None else static_qos,
            callback_group=self.group,
        )  # fmt: skip
        self.executor: SingleThreadedExecutor | None = None
        if spin_thread:
            self.executor = SingleThreadedExecutor()
            self.executor.add_node(node)
            self.dedicated_listener_thread = Thread(target=self._spin, args=(self.executor,), daemon=True)
            self.dedicated_listener_thread.start()

    @staticmethod
    def _spin(executor: SingleThreadedExecutor) -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    def callback(self, data: TFMessage) -> None:
        for transform in data.transforms:
            self.buffer.set_transform(transform, AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, AUTHORITY)

    def unregister(self) -> None:
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the interpreter's end the node may be gone
            if self.executor is not None:
                self.executor.shutdown()
                self.dedicated_listener_thread.join()
            self.unregister()
