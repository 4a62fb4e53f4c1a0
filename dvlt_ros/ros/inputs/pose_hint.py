"""Pose hints: `initialpose`, as RViz's "2D Pose Estimate" and navigation stacks send it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node

from ...errors import InputError
from ...frame_names import frame_name
from ...mapping.loops.hint import PoseHint
from ...sources.messages import stamp_ns_of
from ..complaints import Complaints, Guard
from ..messages import matrix_from_pose

TOPIC = "initialpose"


class PoseHintIntake:
    """The base's pose in the map; what it means for the camera is worked out where TF may be waited for."""

    def __init__(
        self, node: Node, map_frame: str, offer: Callable[[PoseWithCovarianceStamped], None], complain: Complaints
    ) -> None:
        """``offer`` gets messages whose frame is the map's."""
        self._node, self._map_frame, self._offer = node, map_frame, offer
        self._guard = Guard(node.resolve_topic_name(TOPIC), complain)
        self._subscription = node.create_subscription(PoseWithCovarianceStamped, TOPIC, self._on_message, 1)

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: PoseWithCovarianceStamped) -> None:
        self._guard(self._take, message)

    def _take(self, message: PoseWithCovarianceStamped) -> None:
        frame = frame_name(message.header.frame_id)
        if frame != self._map_frame:
            raise InputError(f"its frame is '{frame}', the map's is '{self._map_frame}'")
        self._offer(message)


def pose_hint(
    message: PoseWithCovarianceStamped, frame_id: str, latest_ns: int, base_from_cam: Callable[[str], np.ndarray]
) -> PoseHint:
    """The hint for a camera.

    Args:
        frame_id: of the camera; empty: no image has come.
        latest_ns: stamp of its newest image, for a message without a stamp.
        base_from_cam: gives the mount (4, 4) of a camera, or raises InputError.

    Raises:
        InputError: the camera or its mount is not known, or the pose is not finite.
    """
    if not frame_id:
        raise InputError("initialpose: no image has come yet, so the camera's mount is not known; send it again then")
    covariance = np.asarray(message.pose.covariance, np.float64).reshape(6, 6)
    position = math.sqrt(max(0.0, float(np.nanmax(np.diag(covariance)[:2]))))
    map_from_cam = matrix_from_pose(message.pose.pose) @ base_from_cam(frame_id)
    turn_rad = math.sqrt(max(0.0, float(covariance[5, 5])))
    return PoseHint(map_from_cam, stamp_ns_of(message.header) or latest_ns, frame_id, position, turn_rad)
