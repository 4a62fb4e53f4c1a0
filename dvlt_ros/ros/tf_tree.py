"""Where the camera hangs in the TF tree, and the one transform that the node adds to it (REP-105)."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, TransformBroadcaster, TransformException, TransformListener

from ..errors import DvltError
from .messages import matrix_from_transform, transform_message


class TreeError(DvltError):
    """A transform that cannot be found or must not be published."""


class CameraTree:
    """Publishes ``map -> root``, the root being that of the camera's own tree, so that the tree stays a tree."""

    def __init__(self, node: Node, map_frame: str) -> None:
        self._node, self._map_frame = node, map_frame
        self._buffer = Buffer(node=node)
        self._listener = TransformListener(self._buffer, node)
        self._broadcaster = TransformBroadcaster(node)
        self._parents: dict[str, str] = {}
        self._published_root: str | None = None

    def refresh(self) -> None:
        """Reads the tree anew; it seldom changes, and reading it costs."""
        frames: dict[str, Any] = yaml.safe_load(self._buffer.all_frames_as_yaml()) or {}
        self._parents = {child: entry["parent"] for child, entry in frames.items()}

    def publish(self, camera_frame: str, stamp_ns: int, map_from_cam: np.ndarray) -> None:
        """``map -> root`` such that the camera (optical frame) is at ``map_from_cam`` (4, 4) at that stamp.

        Never waits: what is not known yet is not published.

        Raises:
            TreeError: the camera cannot be looked up in its tree at that stamp, or its root has another parent.
        """
        root = self._root(camera_frame)
        map_from_root = map_from_cam @ self._cam_from_root(camera_frame, root, stamp_ns)
        self._broadcaster.sendTransform(transform_message(map_from_root, self._map_frame, root, stamp_ns))
        self._published_root = root

    def close(self) -> None:
        self._listener.unregister()
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _root(self, frame: str) -> str:
        """The frame at the top of the camera's tree; below the map only if the node itself put it there.

        Raises:
            TreeError: somebody else publishes a transform to the map, or the tree goes in a circle.
        """
        seen = [frame]
        while (parent := self._parents.get(seen[-1])) is not None:
            if parent == self._map_frame:
                if seen[-1] == self._published_root:
                    break
                raise TreeError(
                    f"'{seen[-1]}' already has the parent '{parent}' from another publisher; "
                    "set tf_mode: none, or stop that publisher"
                )
            if parent in seen:
                raise TreeError(f"the TF tree goes in a circle: {' -> '.join([*seen, parent])}")
            seen.append(parent)
        return seen[-1]

    def _cam_from_root(self, camera_frame: str, root: str, stamp_ns: int) -> np.ndarray:
        if camera_frame == root:
            return np.eye(4)
        try:
            found: TransformStamped = self._buffer.lookup_transform(
                camera_frame, root, Time(nanoseconds=stamp_ns), Duration()
            )
        except TransformException as error:
            raise TreeError(f"no transform from '{root}' to '{camera_frame}' at the image's stamp: {error}") from error
        return matrix_from_transform(found.transform)
