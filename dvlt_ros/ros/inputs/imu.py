"""Gravity in: from an IMU, or from how the camera is mounted on the robot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import Imu
from transforms3d.quaternions import quat2mat

from ...frame_names import frame_name
from ...mapping.sensors.gravity import Gravity, GravityConfig, GravityError, UpFilter, level_from_cam
from ...sources.messages import stamp_ns_of
from ...sources.poses import MAX_NORM_ERROR
from ..config import NodeConfig
from ..outputs.frame_outputs import prefixed
from .intake import FollowingSubscription
from .tf_tree import TfTree, TreeError

QUEUE = QoSProfile(depth=200, history=HistoryPolicy.KEEP_LAST)


class ImuIntake:
    """Follows where up is in the IMU's frame; `level_from_cam` may be asked from any thread but the executor's."""

    def __init__(
        self, node: Node, config: NodeConfig, gravity: GravityConfig, tree: TfTree, complain: Callable[[str], None]
    ) -> None:
        self._prefix, self._tree, self._complain = config.frames.prefix, tree, complain
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
            GravityError: the IMU does not tell, or its mount is not known.
        """
        up_imu = self._up.at(stamp_ns)
        try:
            cam_from_imu = self._tree.look_up(prefixed(self._prefix, frame_id), self._frame, stamp_ns)
        except TreeError as error:
            raise GravityError(str(error)) from error
        return level_from_cam(cam_from_imu[:3, :3] @ up_imu)

    def _on_message(self, message: Imu, _: dict[str, int]) -> None:
        try:
            if not (name := frame_name(message.header.frame_id)):
                raise GravityError("imu refused: it has no frame_id; the driver must set it")
            frame = prefixed(self._prefix, name)
            if frame != self._frame:
                self._up.clear()
                self._frame = frame
            if (stamp_ns := stamp_ns_of(message.header)) < 0:
                raise GravityError(f"imu refused: its stamp is {stamp_ns * 1e-9:.3f} s")
            if (up_imu := orientation_up(message)) is not None:
                self._up.tell(stamp_ns, up_imu)
            else:
                self._up.add(stamp_ns, *motion(message))
        except GravityError as error:
            self._complain(str(error))


def orientation_up(message: Imu) -> np.ndarray | None:
    """Up (3,) in the IMU's frame by its own orientation; None: its covariance does not say that there is one.

    REP-145 has -1 for none; all zero is unknown, and what drivers leave there that have none.
    """
    if not message.orientation_covariance[0] > 0:
        return None
    q = message.orientation
    quaternion = np.array([q.w, q.x, q.y, q.z])
    length = float(np.linalg.norm(quaternion))
    if not abs(length - 1) <= MAX_NORM_ERROR:
        raise GravityError(
            f"imu refused: its orientation is no rotation, but has a covariance: its quaternion has length {length:.3g}"
        )
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
    """The robot's base is level, and TF has the camera on it."""
    base = prefixed(config.frames.prefix, config.frames.base)

    def level_from_cam_by_mount(stamp_ns: int, frame_id: str) -> np.ndarray:
        try:
            return tree.look_up(base, prefixed(config.frames.prefix, frame_id), stamp_ns)[:3, :3]
        except TreeError as error:
            raise GravityError(str(error)) from error

    return Gravity("mount", level_from_cam_by_mount, gravity)
