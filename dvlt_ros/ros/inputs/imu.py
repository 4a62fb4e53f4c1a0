"""Gravity from an IMU, or from the mount of the camera on the robot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import Imu

from ...mapping.sensors.gravity import Gravity, GravityConfig, GravityError
from ...sensing.imu import ImuReader
from ..config import NodeConfig
from ..outputs.frame_outputs import prefixed
from .following import FollowingSubscription
from .mounts import look_up_with
from .tf_tree import TfTree, TreeError

QUEUE = QoSProfile(depth=200, history=HistoryPolicy.KEEP_LAST)


class ImuIntake:
    """Filters the vertical in the IMU's frame; any thread but the executor's may call `level_from_cam`."""

    def __init__(
        self, node: Node, config: NodeConfig, gravity: GravityConfig, tree: TfTree, complain: Callable[[str], None]
    ) -> None:
        self._reader = ImuReader(gravity.imu_averaging_s, look_up_with(config.frames.prefix, tree))
        self._complain = complain
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
        return self._reader.level_from_cam(stamp_ns, frame_id)

    def _on_message(self, message: Imu, _: dict[str, int]) -> None:
        try:
            self._reader.add(message)
        except GravityError as error:
            self._complain(str(error))


def gravity_of_mount(config: NodeConfig, gravity: GravityConfig, tree: TfTree) -> Gravity:
    """Gravity by TF: the robot's base is taken to be level."""
    base = prefixed(config.frames.prefix, config.frames.base)

    def level_from_cam_by_mount(stamp_ns: int, frame_id: str) -> np.ndarray:
        try:
            return tree.look_up(base, prefixed(config.frames.prefix, frame_id), stamp_ns)[:3, :3]
        except TreeError as error:
            raise GravityError(str(error)) from error

    return Gravity("mount", level_from_cam_by_mount, gravity)
