"""Gravity from an IMU, or from the mount of the camera on the robot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import Imu
from transforms3d.quaternions import quat2mat

from ...mapping.sensors.gravity import Gravity, GravityConfig, GravityError, UpFilter, level_from_cam
from ..config import NodeConfig
from ..messages import QUATERNION_TOLERANCE
from ..outputs.frame_outputs import prefixed
from .intake import FollowingSubscription
from .tf_tree import TfTree, TreeError

QUEUE = QoSProfile(depth=200, history=HistoryPolicy.KEEP_LAST)


class ImuIntake:
    """Filters the vertical in the IMU's frame; any thread but the executor's may call `level_from_cam`."""

    def __init__(
        self, node: Node, config: NodeConfig, gravity: GravityConfig, tree: TfTree, complain: Callable[[str], None]
    ) -> None:
        self._prefix = config.frames.prefix
        self._tree = tree
        self._complain = complain
        self._up = UpFilter(gravity.imu_averaging_s)
        self._frame = ""
        self._subscription = FollowingSubscription(node, Imu, "imu", self._on_message, "auto", QUEUE)

    def follow(self) -> None:
        self._subscription.follow()

    def close(self) -> None:
        self._subscription.close()

    def level_from_cam(self, stamp_ns: int, frame_id: str) -> np.ndarray:
        """(3, 3) of a camera: x forward as it looks, z up.

        Raises:
            GravityError: there is no measurement of the IMU, or its mount is not known.
        """
        up_imu = self._up.at(stamp_ns)
        try:
            cam_from_imu = self._tree.look_up(prefixed(self._prefix, frame_id), self._frame, stamp_ns)
        except TreeError as error:
            raise GravityError(str(error)) from error
        return level_from_cam(cam_from_imu[:3, :3] @ up_imu)

    def _on_message(self, message: Imu, _: dict[str, int]) -> None:
        try:
            if not message.header.frame_id:
                raise GravityError("imu refused: it has no frame_id; the driver must set it")
            frame = prefixed(self._prefix, message.header.frame_id)
            if frame != self._frame:
                self._up.clear()
                self._frame = frame
            stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
            if (up_imu := orientation_up(message)) is not None:
                self._up.tell(stamp_ns, up_imu)
            else:
                self._up.add(stamp_ns, *motion(message))
        except GravityError as error:
            self._complain(str(error))


def orientation_up(message: Imu) -> np.ndarray | None:
    """Up (3,) in the IMU's frame from its orientation; None: by its covariance there is no orientation.

    -1 means that there is none (REP-145); zeros mean unknown, and are also left by drivers without orientation.
    """
    if not message.orientation_covariance[0] > 0:
        return None
    q = message.orientation
    quaternion = np.array([q.w, q.x, q.y, q.z])
    if not abs(float(quaternion @ quaternion) - 1) < QUATERNION_TOLERANCE:
        raise GravityError("imu refused: its orientation is no rotation, but has a covariance")
    up_imu: np.ndarray = quat2mat(quaternion)[2]
    return up_imu


def motion(message: Imu) -> tuple[np.ndarray, np.ndarray | None]:
    """Acceleration (3,) m/s² and turn rate (3,) rad/s; None: it has no gyros."""
    if message.linear_acceleration_covariance[0] == -1:
        raise GravityError("imu refused: it has neither orientation nor acceleration")
    a, w = message.linear_acceleration, message.angular_velocity
    has_gyros = message.angular_velocity_covariance[0] != -1
    return np.array([a.x, a.y, a.z]), np.array([w.x, w.y, w.z]) if has_gyros else None


def gravity_of_mount(config: NodeConfig, gravity: GravityConfig, tree: TfTree) -> Gravity:
    """Gravity by TF: the robot's base is taken to be level."""
    base = prefixed(config.frames.prefix, config.frames.base)

    def level_from_cam_by_mount(stamp_ns: int, frame_id: str) -> np.ndarray:
        try:
            return tree.look_up(base, prefixed(config.frames.prefix, frame_id), stamp_ns)[:3, :3]
        except TreeError as error:
            raise GravityError(str(error)) from error

    return Gravity("mount", level_from_cam_by_mount, gravity)
