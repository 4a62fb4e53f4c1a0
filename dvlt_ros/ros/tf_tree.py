"""The robot's TF tree, and the one transform that the node adds to it (REP-105)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, TransformBroadcaster, TransformException, TransformListener

from ..errors import DvltError
from .config import NodeConfig
from .messages import matrix_from_transform, transform_message

REBROADCAST_S = 0.05
LATEST = 0  # instead of a stamp: for mounts, which do not move


class TreeError(DvltError):
    """A transform that cannot be found or must not be published."""


class TfTree:
    """What is known of the tree. Never waits; look-ups may come from any thread."""

    def __init__(self, node: Node) -> None:
        self._buffer = Buffer(node=node)
        self._listener = TransformListener(self._buffer, node)
        self._parents: dict[str, str] = {}

    def refresh(self) -> None:
        """Reads the parents anew; they seldom change, and reading them costs."""
        frames: dict[str, Any] = yaml.safe_load(self._buffer.all_frames_as_yaml()) or {}
        self._parents = {child: entry["parent"] for child, entry in frames.items()}

    def close(self) -> None:
        self._listener.unregister()

    def parent(self, frame: str) -> str | None:
        return self._parents.get(frame)

    def look_up(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """target_from_source (4, 4) at a stamp, or at the `LATEST`.

        Raises:
            TreeError: it is not known.
        """
        if target == source:
            return np.eye(4)
        try:
            found: TransformStamped = self._buffer.lookup_transform(
                target, source, Time(nanoseconds=stamp_ns), Duration()
            )
        except TransformException as error:
            when = " at the image's stamp" if stamp_ns != LATEST else ""
            raise TreeError(f"no transform from '{source}' to '{target}'{when}: {error}") from error
        return matrix_from_transform(found.transform)


class CameraAnchor:
    """Publishes ``map -> root``, the root being that of the camera's own tree, so that the tree stays a tree."""

    def __init__(self, node: Node, tree: TfTree, map_frame: str) -> None:
        self._node, self._tree, self._map_frame = node, tree, map_frame
        self._broadcaster = TransformBroadcaster(node)
        self._published_root: str | None = None

    def publish(self, camera_frame: str, stamp_ns: int, map_from_cam: np.ndarray) -> None:
        """``map -> root`` such that the camera (optical frame) is at ``map_from_cam`` (4, 4) at that stamp.

        Raises:
            TreeError: the camera cannot be looked up in its tree at that stamp, or its root has another parent.
        """
        root = self._root(camera_frame)
        map_from_root = map_from_cam @ self._tree.look_up(camera_frame, root, stamp_ns)
        self._broadcaster.sendTransform(transform_message(map_from_root, self._map_frame, root, stamp_ns))
        self._published_root = root

    def close(self) -> None:
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _root(self, frame: str) -> str:
        """The frame at the top of the camera's tree; below the map only if the node itself put it there.

        Raises:
            TreeError: somebody else publishes a transform to the map, or the tree goes in a circle.
        """
        seen = [frame]
        while (parent := self._tree.parent(seen[-1])) is not None:
            if parent == self._map_frame:
                if seen[-1] == self._published_root:
                    break
                raise TreeError(other_parent(seen[-1], parent))
            if parent in seen:
                raise TreeError(f"the TF tree goes in a circle: {' -> '.join([*seen, parent])}")
            seen.append(parent)
        return seen[-1]


class OdomAnchor:
    """Publishes ``map -> odom`` 20 times a second, a little ahead of time, until it is too old to be believed."""

    def __init__(self, node: Node, tree: TfTree, map_frame: str, config: Callable[[], NodeConfig]) -> None:
        self._node, self._tree, self._map_frame, self._config = node, tree, map_frame, config
        self._broadcaster = TransformBroadcaster(node)
        self._latest: tuple[np.ndarray, str, float] | None = None
        self._has_published = False
        self._timer = node.create_timer(REBROADCAST_S, self._broadcast, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def is_stale(self) -> bool:
        """Whether something was published and no longer is."""
        return self._latest is not None and time.monotonic() - self._latest[2] > self._config().stale_after_s

    def publish(self, odom_frame: str, map_from_odom: np.ndarray) -> None:
        """From now on this one (4, 4).

        Raises:
            TreeError: odom has another parent.
        """
        parent = self._tree.parent(odom_frame)
        if parent is not None and not (parent == self._map_frame and self._has_published):
            self._latest = None
            raise TreeError(other_parent(odom_frame, parent))
        self._latest = map_from_odom, odom_frame, time.monotonic()

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _broadcast(self) -> None:
        if self._latest is None or self.is_stale:
            return
        map_from_odom, odom_frame, _ = self._latest
        stamp_ns = self._node.get_clock().now().nanoseconds + round(self._config().tf_tolerance_s * 1e9)
        self._has_published = True
        self._broadcaster.sendTransform(transform_message(map_from_odom, self._map_frame, odom_frame, stamp_ns))


def other_parent(frame: str, parent: str) -> str:
    return (
        f"'{frame}' already has the parent '{parent}' from another publisher; set tf_mode: none, or stop that publisher"
    )
