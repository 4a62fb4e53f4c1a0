"""Odometry from the images as nav_msgs/Odometry: pose and velocity of the robot's base, and their covariances."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry
from std_msgs.msg import Header

from ...mapping.data.frames import Reconstruction
from ...mapping.maps.map_update import MapUpdate
from ...mapping.maps.visual_odometry import UNKNOWN, OdometryStep, carried, rotated, twist_of
from ...mapping.sensors.odometry import inverse
from .. import messages


def step_at(update: MapUpdate, frame: Reconstruction) -> OdometryStep | None:
    """The step of a frame; None: it is of another camera of a rig, or tells no motion."""
    steps = (step for step in update.odometry if (step.stamp_ns, step.camera) == (frame.stamp_ns, frame.camera))
    return next(steps, None)


def odometry_message(step: OdometryStep, base_from_cam: np.ndarray, head: Header, child: str) -> Odometry:
    """Pose in the frame of ``head``, twist in the frame ``child`` (the message's own rule); metres, radians, seconds.

    Args:
        base_from_cam: (4, 4) the camera's mount on ``child``.
    """
    cam_from_base = inverse(base_from_cam)
    message = Odometry(header=head, child_frame_id=child)
    message.pose.pose = messages.pose_message(step.odom_from_cam @ cam_from_base)
    lever = step.odom_from_cam[:3, :3] @ cam_from_base[:3, 3]
    message.pose.covariance = carried(step.covariance, lever).ravel().tolist()
    covariance = UNKNOWN * np.eye(6)
    if step.before_from_cam is not None and step.duration_s > 0:
        motion = base_from_cam @ step.before_from_cam @ cam_from_base
        linear, angular = twist_of(motion, step.duration_s)
        covariance = rotated(carried(step.step_covariance, cam_from_base[:3, 3]), base_from_cam[:3, :3])
        covariance /= step.duration_s**2
        twist = message.twist.twist
        twist.linear.x, twist.linear.y, twist.linear.z = linear.tolist()
        twist.angular.x, twist.angular.y, twist.angular.z = angular.tolist()
    message.twist.covariance = covariance.ravel().tolist()
    return message
