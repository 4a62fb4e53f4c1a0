"""Odometry from nav_msgs/Odometry or TF: poses of the camera through its mount."""

from __future__ import annotations

from collections.abc import Callable

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.time import Time

from ...mapping.data.frames import OUT_OF_ORDER_S
from ...mapping.sensors.odometry import CameraInOdom, OdometryConfig, OdometryError, OdometryHistory
from ..config import NodeConfig
from ..messages import matrix_from_pose
from ..outputs.frame_outputs import prefixed
from .intake import FollowingSubscription
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
            found = self._history.at(stamp_ns)
            base_from_cam = self._tree.look_up(self._base_frame, camera_frame, stamp_ns)
        except TreeError as error:
            raise OdometryError(str(error)) from error
        return CameraInOdom(found.odom_from_base @ base_from_cam, found.epoch)

    def _read_tree(self, stamp_ns: int) -> None:
        """Reads TF into the same history as messages, with the same checks; once for all cameras of a frame set."""
        latest_ns = self._history.latest_ns
        if latest_ns is None or not 0 <= (latest_ns - stamp_ns) * 1e-9 < OUT_OF_ORDER_S:
            odom_from_base = self._tree.look_up(self.odom_frame, self._base_frame, stamp_ns)
            if (reason := self._history.add(stamp_ns, odom_from_base)) is not None:
                self._complain(reason)

    def _on_message(self, message: Odometry, _: dict[str, int]) -> None:
        try:
            if not (message.header.frame_id and message.child_frame_id):
                raise OdometryError("odometry refused: it has no frame_id or no child_frame_id")
            odom_from_base = matrix_from_pose(message.pose.pose)
            reason = self._history.add(Time.from_msg(message.header.stamp).nanoseconds, odom_from_base)
        except OdometryError as error:
            self._complain(str(error))
            return
        if reason is not None:
            self._complain(reason)
        self.odom_frame = prefixed(self._prefix, message.header.frame_id)
        self._base_frame = prefixed(self._prefix, message.child_frame_id)
