"""Transforms as messages and as matrices."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.time import Time

LATEST = Time()


def message(parent, child, stamp_ns=0, translation=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0)):
    result = TransformStamped()
    result.header.frame_id, result.child_frame_id = parent, child
    result.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    t, q = result.transform.translation, result.transform.rotation
    t.x, t.y, t.z = map(float, translation)
    q.x, q.y, q.z, q.w = map(float, rotation)
    return result


def matrix(transform):
    """(4, 4) target_from_source of a message, by the textbook formula."""
    t, q = transform.transform.translation, transform.transform.rotation
    x, y, z, w = q.x, q.y, q.z, q.w
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.block([[np.array(rotation), np.array([[t.x], [t.y], [t.z]])], [np.zeros((1, 3)), np.ones((1, 1))]])


def about(axis, angle):
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    return (*(np.sin(angle / 2) * axis), np.cos(angle / 2))
