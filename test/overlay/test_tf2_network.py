"""Transforms from other threads, over the real middleware and from other processes."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

import tf2_ros
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf_messages import LATEST, about, matrix, message


def listen(node, buffer):
    """Fills the buffer from /tf and /tf_static."""
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    for topic, qos, set_ in (("/tf", 100, buffer.set_transform), ("/tf_static", latched, buffer.set_transform_static)):
        node.create_subscription(TFMessage, topic, lambda m, s=set_: [s(t, "test") for t in m.transforms], qos)


@pytest.fixture
def buffer():
    return tf2_ros.Buffer()


def test_waits_for_a_transform_from_another_thread(buffer):
    waiting = threading.Event()
    sender = threading.Thread(
        target=lambda: (waiting.wait(), buffer.set_transform_static(message("map", "base"), "test"))
    )
    sender.start()
    waiting.set()
    assert buffer.can_transform("map", "base", LATEST, timeout=Duration(seconds=60))
    sender.join()


def test_many_threads(buffer):
    """Writers and readers at once: nothing breaks, and what is read was written."""
    problems = []

    def write(parent, child):
        for stamp_ns in range(1, 300):
            buffer.set_transform(message(parent, child, stamp_ns * 10**7, (stamp_ns, stamp_ns, 0)), "test")

    def read():
        for _ in range(300):
            try:
                x, y, _z = matrix(buffer.lookup_transform("map", "base", LATEST))[:3, 3]
                if x != y:
                    problems.append((x, y))
            except tf2_ros.TransformException:
                pass

    threads = [threading.Thread(target=write, args=a) for a in (("map", "odom"), ("odom", "base"))]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert matrix(buffer.lookup_transform("map", "base", LATEST))[0, 3] == 2 * 299


def test_broadcast_to_lookup_over_the_network(make_node, spin_until):
    robot, watcher = make_node("robot"), make_node("watcher")
    buffer, broadcaster = tf2_ros.Buffer(node=watcher), tf2_ros.TransformBroadcaster(robot)
    listen(watcher, buffer)
    mount = message("base", "camera", 0, (0, 0, 1), about((0, 0, 1), np.pi / 2))
    tf2_ros.StaticTransformBroadcaster(robot).sendTransform(mount)
    spin_until(
        lambda: robot.count_subscribers("/tf") > 0 and broadcaster.pub_tf.get_subscription_count() > 0, robot, watcher
    )
    broadcaster.sendTransform(message("map", "base", 10**9, (0, 0, 0)))
    broadcaster.sendTransform([message("map", "base", 3 * 10**9, (4, 0, 0))])
    asked = Time(nanoseconds=2 * 10**9)
    spin_until(lambda: buffer.can_transform("map", "camera", asked), robot, watcher)
    found = matrix(buffer.lookup_transform("map", "camera", asked))
    np.testing.assert_allclose(found, matrix(message("", "", 0, (2, 0, 1), about((0, 0, 1), np.pi / 2))), atol=1e-12)


def test_static_transforms_reach_a_late_joiner(make_node, spin_until):
    robot = make_node("robot")
    broadcaster = tf2_ros.StaticTransformBroadcaster(robot)
    broadcaster.sendTransform(message("base", "left"))
    broadcaster.sendTransform([message("base", "right", 0, (0, 1, 0)), message("base", "left", 0, (9, 9, 9))])
    late = make_node("late")
    buffer = tf2_ros.Buffer()
    listen(late, buffer)
    spin_until(lambda: buffer.can_transform("left", "right", LATEST), robot, late)
    np.testing.assert_allclose(matrix(buffer.lookup_transform("left", "right", LATEST))[:3, 3], [0, 1, 0])


def test_messages_cross_processes(ros, make_node, spin_until):
    """The generated type support, from another process's publisher."""
    received = []
    watcher = make_node("watcher")
    watcher.create_subscription(TFMessage, "/tf", received.append, 10)
    program = f"""
import rclpy, sys
from tf2_msgs.msg import TFMessage
from geometry_msgs.msg import TransformStamped
rclpy.init(domain_id={ros.get_default_context().get_domain_id()})
node = rclpy.create_node("other")
publisher = node.create_publisher(TFMessage, "/tf", 10)
transform = TransformStamped(child_frame_id="from another process")
timer = node.create_timer(0.05, lambda: publisher.publish(TFMessage(transforms=[transform])))
rclpy.spin(node)
"""
    other = subprocess.Popen([sys.executable, "-c", program])
    try:
        spin_until(lambda: bool(received) or other.poll() is not None, watcher)
    finally:
        other.kill()
        other.wait()
    assert received
    assert received[0].transforms[0].child_frame_id == "from another process"
