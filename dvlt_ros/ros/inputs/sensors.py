"""Sensors of the robot besides its cameras: mounts in TF, odometry, gravity, measured depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node

from ...errors import InputError
from ...mapping.sensors.gravity import Gravity
from ...mapping.sensors.odometry import CameraInOdom
from ...mapping.sensors.sparse_depth import SparseDepth
from ..config import Settings
from ..outputs.frame_outputs import prefixed
from .imu import ImuIntake, gravity_of_mount
from .odometry import OdometryIntake
from .sparse_depth import SparseDepthIntake
from .tf_tree import LATEST, TfTree, TreeError


class SensorTopics:
    """Subscriptions of the configured sensors, and the TF tree with their mounts; None for the others."""

    def __init__(self, node: Node, settings: Settings, complain: Callable[[str], None]) -> None:
        config = settings.node
        self._settings = settings
        self.tree = TfTree(node, config.tf.timeout_s)
        self.odometry: OdometryIntake | None = None
        self.depth: SparseDepthIntake | None = None
        self.imu: ImuIntake | None = None
        if config.odometry.source != "none":
            self.odometry = OdometryIntake(node, config, settings.mapper.odometry, self.tree, complain)
        if config.measured_depth.source != "none":
            self.depth = SparseDepthIntake(node, config, settings.mapper.measured_depth, self.tree, self.camera_in_odom)
        if config.gravity.source == "imu":
            self.imu = ImuIntake(node, config, settings.mapper.gravity, self.tree, complain)

    @property
    def camera_in_odom(self) -> Callable[[int, str], CameraInOdom] | None:
        return None if self.odometry is None else self.odometry.camera

    def measured_depth(self) -> SparseDepth | None:
        return None if self.depth is None else SparseDepth(self.depth.points)

    def gravity(self) -> Gravity | None:
        """None: gravity is that of the odometry's frame, or not known."""
        if self.imu is not None:
            return Gravity("imu", self.imu.level_from_cam, self._settings.mapper.gravity)
        if self._settings.node.gravity.source == "mount":
            return gravity_of_mount(self._settings.node, self._settings.mapper.gravity, self.tree)
        return None

    def base_from_cam(self, frame_id: str) -> np.ndarray:
        """(4, 4) of a camera's mount, metres. Raises InputError: TF does not have it."""
        config = self._settings.node
        base, camera = (prefixed(config.frames.prefix, frame) for frame in (config.frames.base, frame_id))
        try:
            return self.tree.look_up(base, camera, LATEST)
        except TreeError as error:
            raise InputError(f"its mount is not known: {error}") from error

    def follow(self) -> None:
        """Follows the publishers' reliability, see `FollowingSubscription`."""
        for intake in (self.odometry, self.depth, self.imu):
            if intake is not None:
                intake.follow()

    def close(self) -> None:
        for part in (self.odometry, self.depth, self.imu, self.tree):
            if part is not None:
                part.close()
