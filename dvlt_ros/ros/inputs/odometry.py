"""Odometry from nav_msgs/Odometry or TF: poses of the camera through its mount."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile

from ...errors import DataError
from ...frame_names import frame_name
from ...mapping.data.frames import OUT_OF_ORDER_S
from ...mapping.sensors.odometry import CameraInOdom, OdometryConfig, OdometryError, OdometryHistory, OdometryPose
from ...sources.messages import UNSET, stamp_ns_of
from ..config import NodeConfig
from ..messages import matrix_from_pose
from ..outputs.frame_outputs import prefixed
from .following import FollowingSubscription
from .tf_tree import TfTree, TreeError

QUEUE = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST)


class OdometryIntake:
    """Keeps the latest odometry; any thread may call `camera`."""

    def __init__(
        self, node: Node, config: NodeConfig, odometry: OdometryConfig, tree: TfTree, complain: Callable[[str], None]
    ) -> None:
        self._prefix = config.frames.prefix
        self.odom_frame = prefixed(self._prefix, config.odometry.frame)
        self._tree, self._complain = tree, complain
        self._history = OdometryHistory(odometry)
        self._refusal = ""  # of the latest message that was refused
        self._base_frame = prefixed(self._prefix, config.frames.base)
        self._offset_ns = round(odometry.time_offset_s * 1e9)
        self._subscription = (
            FollowingSubscription(node, Odometry, "odom", self._on_message, "auto", QUEUE)
            if config.odometry.source == "topic"
            else None
        )

    def follow(self) -> None:
        if self._subscription is not None:
            self._subscription.follow()

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()

    def camera(self, stamp_ns: int, frame_id: str) -> CameraInOdom:
        """Pose at a stamp. Raises OdometryError: there is no odometry at that stamp, or no mount."""
        camera_frame = prefixed(self._prefix, frame_id)
        try:
            if self._subscription is None:
                self._read_tree(stamp_ns + self._offset_ns)
            found = self._at(stamp_ns)
            base_from_cam = self._tree.look_up(self._base_frame, camera_frame, stamp_ns)
        except TreeError as error:
            raise OdometryError(str(error)) from error
        return CameraInOdom(found.odom_from_base @ base_from_cam, found.epoch)

    def _at(self, stamp_ns: int) -> OdometryPose:
        """Raises OdometryError: there is none, or all was refused, and why."""
        if not len(self._history) and self._refusal:
            raise OdometryError(f"all that has arrived was refused: {self._refusal}")
        return self._history.at(stamp_ns)

    def _read_tree(self, stamp_ns: int) -> None:
        """Reads TF into the same history as messages, with the same checks; once for all cameras of a frame set."""
        latest_ns = self._history.latest_ns
        if latest_ns is None or not 0 <= (latest_ns - stamp_ns) * 1e-9 < OUT_OF_ORDER_S:
            odom_from_base = self._tree.look_up(self.odom_frame, self._base_frame, stamp_ns)
            if (reason := self._history.add(stamp_ns, odom_from_base)) is not None:
                self._complain(reason)

    def _on_message(self, message: Odometry, _: dict[str, int]) -> None:
        try:
            parent, child = frame_name(message.header.frame_id), frame_name(message.child_frame_id)
            if not (parent and child):
                raise OdometryError("odometry refused: it has no frame_id or no child_frame_id")
            if not (stamp_ns := stamp_ns_of(message.header)):
                raise OdometryError(f"odometry refused: {UNSET}")
            reason = self._history.add(stamp_ns, self._pose_of(message))
        except OdometryError as error:
            self._refusal = str(error)
            self._complain(self._refusal)
            return
        if reason is not None:
            self._complain(reason)
        self.odom_frame = prefixed(self._prefix, parent)
        self._base_frame = prefixed(self._prefix, child)

    @staticmethod
    def _pose_of(message: Odometry) -> np.ndarray:
        try:
            return matrix_from_pose(message.pose.pose)
        except DataError as error:
            raise OdometryError(f"odometry refused: {error}") from error
