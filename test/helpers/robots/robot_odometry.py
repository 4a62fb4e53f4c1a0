"""Odometry of a `Robot`: pose of its base at the stamp of a frame, without an error."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.time import Time
from room import FRAME_NS, SIZE
from tf2_ros import StaticTransformBroadcaster

from dvlt_ros.ros.messages import pose_message, transform_message

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 4.0], [-1, 0, 0, -2.0], [0, -1, 0, 0.3], [0, 0, 0, 1]])


def add_odometry(robot, poses, prefix=""):
    """``poses`` has world_from_cam (4, 4) by stamp in ns."""
    robot.poses, robot.odom_from_world = poses, ODOM_FROM_WORLD
    robot.odom = robot.me.create_publisher(Odometry, "odom", 50)
    robot.mount = StaticTransformBroadcaster(robot.me)
    robot.mount.sendTransform(transform_message(BASE_FROM_CAM, f"{prefix}base_link", f"{prefix}cam", 1))


def odom_from_base(robot, number):
    return robot.odom_from_world @ robot.poses[number * FRAME_NS] @ np.linalg.inv(BASE_FROM_CAM)


def send_odometry(robot, number, message=None):
    """Publishes odometry at the stamp of a frame."""
    if message is None:
        message = Odometry()
        message.pose.pose = pose_message(odom_from_base(robot, number))
    message.header.stamp = Time(nanoseconds=number * FRAME_NS).to_msg()
    message.header.frame_id, message.child_frame_id = "odom", "base_link"
    robot.odom.publish(message)


def drive(robot, numbers, send=send_odometry, alone=1):
    """Frames one by one, each after its odometry has arrived and the frame before is published.

    ``alone`` is the frame that begins a map: it waits for a second one.
    """
    for number in numbers:
        send(robot, number)
        robot.until(lambda n=number: has_odometry(robot, n), "the odometry")
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: n == alone or n * FRAME_NS in robot.stamps("rgb/image_rect"), "the frame")


def has_odometry(robot, number):
    odometry = robot.sensors.odometry
    latest_ns = odometry._history.latest_ns
    return odometry._subscription is None or (latest_ns is not None and latest_ns >= number * FRAME_NS)


def start(robot):
    robot.start()
    await_odometry(robot)


def await_odometry(robot):
    if robot.sensors.odometry._subscription is not None:
        robot.until(lambda: robot.odom.get_subscription_count() > 0, "the node's subscription of odometry")
    robot.until(lambda: robot.sensors.tree._heard, "the mount")


def number_of(message):
    return Time.from_msg(message.header.stamp).nanoseconds // FRAME_NS
