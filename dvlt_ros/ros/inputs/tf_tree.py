"""The robot's TF tree, and the one transform that the node adds to it (REP-105)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, TransformBroadcaster, TransformException

from ...errors import DvltError
from ...frame_names import frame_name
from ...sources.messages import stamp_ns_of
from ..complaints import Complaints, Guard
from ..config import NodeConfig
from ..messages import matrix_from_transform, transform_message

REBROADCAST_S = 0.05
FORGOTTEN_S = 10.0  # a moving transform that is older has no publisher any more
BACKWARDS_NS = 10**9  # a stamp that goes back by more is of another run of the clock
REMEMBERED = 1000  # own transforms that may still arrive on our subscription
LATEST = 0  # instead of a stamp; for mounts, which do not move


class TreeError(DvltError):
    """A transform that cannot be found or must not be published."""


@dataclass(frozen=True)
class Heard:
    """Latest transform of a frame by another publisher."""

    parent: str
    stamp_ns: int
    at_s: float  # steady clock
    is_static: bool


class TfTree:
    """Transforms of other publishers, without those that the node itself has sent.

    Any thread but the executor's may look up: a look-up waits for the executor's callbacks.
    """

    def __init__(self, node: Node, timeout_s: float) -> None:
        """``timeout_s``: how long a look-up waits for a late transform, by a steady clock."""
        self._node, self._timeout_s = node, timeout_s
        self._news = threading.Condition()
        self._complain = Complaints(node.get_logger().error)
        self._guard = Guard("tf", self._complain)
        self._hopeless: set[tuple[str, str]] = set()  # target and source whose look-up has timed out
        self._buffer = Buffer(node=node)
        self._broadcaster = TransformBroadcaster(node)
        self._heard: dict[str, Heard] = {}  # by child
        self._sent: dict[tuple[str, int], None] = {}  # child and stamp, oldest first
        moving, static = QoSProfile(depth=100), QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", partial(self._guarded, is_static=False), moving),
            node.create_subscription(TFMessage, "/tf_static", partial(self._guarded, is_static=True), static),
        ]

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def parent(self, frame: str) -> str | None:
        """Parent of a frame by another publisher; None: there is none now."""
        heard = self._heard.get(frame)
        if heard is None or (not heard.is_static and time.monotonic() - heard.at_s > FORGOTTEN_S):
            return None
        return heard.parent

    def send(self, target_from_source: np.ndarray, target: str, source: str, stamp_ns: int) -> None:
        self._sent[source, stamp_ns] = None
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._broadcaster.sendTransform(transform_message(target_from_source, target, source, stamp_ns))

    def _guarded(self, message: TFMessage, is_static: bool) -> None:
        self._guard(self._on_message, message, is_static)

    def _on_message(self, message: TFMessage, is_static: bool) -> None:
        for transform in message.transforms:
            transform.header.frame_id = frame_name(transform.header.frame_id)
            child = transform.child_frame_id = frame_name(transform.child_frame_id)
            if (stamp_ns := stamp_ns_of(transform.header)) < 0:
                self._complain(f"transform to '{child}' refused: its stamp is {stamp_ns * 1e-9:.3f} s")
                continue
            if (child, stamp_ns) in self._sent:
                continue
            before = self._heard.get(child)
            if before is not None and not is_static and before.stamp_ns - stamp_ns > BACKWARDS_NS:
                self._buffer.clear()  # another run of the clock
                self._heard = {name: heard for name, heard in self._heard.items() if heard.is_static}
            self._heard[child] = Heard(transform.header.frame_id, stamp_ns, time.monotonic(), is_static)
            put = self._buffer.set_transform_static if is_static else self._buffer.set_transform
            put(transform, "default_authority")
        with self._news:
            self._news.notify_all()

    def look_up(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """target_from_source (4, 4) at a stamp, or at the `LATEST`.

        Waits for a late transform; after a time-out it does not wait again until the transform has been found.

        Raises:
            TreeError: it is not known.
        """
        if target == source:
            return np.eye(4)
        pair, deadline_s = (target, source), time.monotonic() + self._timeout_s
        with self._news:
            while True:
                try:
                    found = self._look_up(target, source, stamp_ns)
                except TreeError:
                    remaining_s = deadline_s - time.monotonic()
                    if pair in self._hopeless or remaining_s <= 0:
                        self._hopeless.add(pair)
                        raise
                    self._news.wait(remaining_s)
                else:
                    self._hopeless.discard(pair)
                    return found

    def _look_up(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        try:
            found: TransformStamped = self._buffer.lookup_transform(
                target, source, Time(nanoseconds=stamp_ns), Duration()
            )
        except (TransformException, ValueError) as error:  # a time below zero is a ValueError
            when = " at the image's stamp" if stamp_ns != LATEST else ""
            raise TreeError(f"no transform from '{source}' to '{target}'{when}: {error}") from error
        return matrix_from_transform(found.transform)


class CameraAnchor:
    """Publishes ``map -> root``, where root is the top of the camera's TF tree: every frame keeps one parent."""

    def __init__(self, tree: TfTree, map_frame: str) -> None:
        self._tree, self._map_frame = tree, map_frame

    def publish(self, camera_frame: str, stamp_ns: int, map_from_cam: np.ndarray) -> None:
        """``map -> root`` such that the camera (optical frame) is at ``map_from_cam`` (4, 4) at that stamp.

        Raises:
            TreeError: the camera cannot be looked up in its tree at that stamp, or its root has another parent.
        """
        root = self._root(camera_frame)
        map_from_root = map_from_cam @ self._tree.look_up(camera_frame, root, stamp_ns)
        self._tree.send(map_from_root, self._map_frame, root, stamp_ns)

    def stop(self) -> None:
        """Nothing to stop: it publishes only when called."""

    def close(self) -> None:
        """Nothing to free."""

    def _root(self, frame: str) -> str:
        """The frame at the top of the camera's tree.

        Raises:
            TreeError: another publisher has a transform to the map, or the tree has a cycle.
        """
        seen = [frame]
        while (parent := self._tree.parent(seen[-1])) is not None:
            if parent == self._map_frame:
                raise TreeError(other_parent(seen[-1], parent))
            if parent in seen:
                raise TreeError(f"the TF tree has a cycle: {' -> '.join([*seen, parent])}")
            seen.append(parent)
        return seen[-1]


class OdomAnchor:
    """Publishes ``map -> odom`` 20 times a second, stamped ahead by ``tf.tolerance_s``, until it is stale."""

    def __init__(self, node: Node, tree: TfTree, map_frame: str, config: Callable[[], NodeConfig]) -> None:
        self._node = node
        self._tree = tree
        self._map_frame = map_frame
        self._config = config
        self._latest: tuple[np.ndarray, str, float] | None = None
        self._timer = node.create_timer(REBROADCAST_S, self._broadcast, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def stale_after_s(self) -> float:
        return self._config().output.stale_after_s

    @property
    def is_stale(self) -> bool:
        """Whether the transform is too old, so that it is no longer published."""
        latest = self._latest  # the publishing thread may reset it
        return latest is not None and time.monotonic() - latest[2] > self.stale_after_s

    def publish(self, odom_frame: str, map_from_odom: np.ndarray) -> None:
        """Publishes this transform (4, 4) from now on.

        Raises:
            TreeError: odom has another parent.
        """
        parent = self._tree.parent(odom_frame)
        if parent is not None:
            self._latest = None
            raise TreeError(other_parent(odom_frame, parent))
        self._latest = map_from_odom, odom_frame, time.monotonic()

    def stop(self) -> None:
        """Publishes nothing until the next `publish`."""
        self._latest = None

    def close(self) -> None:
        self._node.destroy_timer(self._timer)

    def _broadcast(self) -> None:
        latest = self._latest
        if latest is None or self.is_stale:
            return
        map_from_odom, odom_frame, _ = latest
        stamp_ns = self._node.get_clock().now().nanoseconds + round(self._config().tf.tolerance_s * 1e9)
        self._tree.send(map_from_odom, self._map_frame, odom_frame, stamp_ns)


def other_parent(frame: str, parent: str) -> str:
    return (
        f"'{frame}' already has the parent '{parent}' from another publisher; set tf.mode: none, or stop that publisher"
    )
