"""What goes wrong with robots, over real DDS: nothing false is published, the status says why, and the work goes on."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from lap import EXACT
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.time import Time
from robot import SETS, as_image
from room import FRAME_NS, SIZE, FakePredictor, pose, room_depth, walk
from sensor_msgs.msg import Image
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.ros.inputs.tf_tree import TfTree, TreeError
from dvlt_ros.ros.messages import pose_message, transform_message

LENGTHS = ("depth/image", "points", "pose", "map_points", "/tf")
BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 4.0], [-1, 0, 0, -2.0], [0, -1, 0, 0.3], [0, 0, 0, 1]])
LOCKED, COUNT = 35, 50  # frames by which the scale has long been known, and of a drive
BLACK = np.full((*SIZE, 3), 3, np.uint8)


class Rover:
    """A robot with odometry, whose network is exact up to a gauge per window."""

    def __init__(self, robot, poses):
        self.robot, self.poses = robot, poses
        self.odom = robot.me.create_publisher(Odometry, "odom", 50)
        self.mount, self.tf = StaticTransformBroadcaster(robot.me), TransformBroadcaster(robot.me)

    def stand(self, base_from_cam=BASE_FROM_CAM):
        self.mount.sendTransform(transform_message(base_from_cam, "base_link", "cam", 1))
        can = self.robot.sensors.tree._buffer.can_transform
        self.robot.until(lambda: can("base_link", "cam", Time()), "the mount")

    def start(self):
        self.robot.start()
        if self.robot.sensors.odometry._subscription is not None:
            self.robot.until(lambda: self.odom.get_subscription_count() > 0, "the node's subscription of odometry")

    def odom_from_base(self, number):
        return ODOM_FROM_WORLD @ self.poses[number * FRAME_NS] @ inverse(BASE_FROM_CAM)

    def send_odometry(self, number, odom_from_base=None, wait=True):
        """Publishes odometry; ``wait`` for its arrival."""
        message = Odometry(child_frame_id="base_link")
        message.header.stamp, message.header.frame_id = Time(nanoseconds=number * FRAME_NS).to_msg(), "odom"
        message.pose.pose = pose_message(self.odom_from_base(number) if odom_from_base is None else odom_from_base)
        self.odom.publish(message)
        history = self.robot.sensors.odometry._history
        if wait:
            self.robot.until(lambda: (history.latest_ns or 0) >= number * FRAME_NS, "the odometry")

    def show(self, stamp_ns, pixels=None):
        if pixels is None:
            self.robot.show(stamp_ns=stamp_ns, size=SIZE)
            return
        message = Image(height=SIZE[0], width=SIZE[1], encoding="rgb8", step=3 * SIZE[1])
        message.data.frombytes(pixels.tobytes())
        message.header.stamp, message.header.frame_id = Time(nanoseconds=stamp_ns).to_msg(), "cam"
        self.robot.camera.publish(message)

    def drive(self, numbers, send=send_odometry):
        """Frames one by one, each after its odometry has arrived and the frame before is published."""
        for number in numbers:
            send(self, number)
            self.show(number * FRAME_NS)
            self.wait_for(number)

    def wait_for(self, number):
        published = number == 1 or number * FRAME_NS
        self.robot.until(lambda: number == 1 or published in self.robot.stamps("rgb/image_rect"), f"frame {number}")

    def numbers(self, topic):
        return [stamp_ns // FRAME_NS for stamp_ns in self.robot.stamps(topic)]

    def assert_true(self, last):
        """All lengths that were published, up to the frame ``last``."""
        self.robot.until(lambda: self.numbers("pose") and self.numbers("pose")[-1] == last, "the last pose")
        self.robot.until(lambda: self.numbers("depth/image")[-1] == last, "the last depth")
        for message in self.robot.messages["pose"]:
            p, true = message.pose.pose.position, self.poses[Time.from_msg(message.header.stamp).nanoseconds]
            np.testing.assert_allclose([p.x, p.y, p.z], (ODOM_FROM_WORLD @ true)[:3, 3], atol=2e-2)
        for message in self.robot.messages["depth/image"]:
            true = room_depth(self.poses[Time.from_msg(message.header.stamp).nanoseconds])
            np.testing.assert_allclose(as_image(message), true, rtol=2e-2)


@pytest.fixture
def make_rover(make_robot, monkeypatch):
    def make(**parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)), {(i + 1) * FRAME_NS: p for i, p in enumerate(walk(COUNT + 5))})
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        options = {"odometry_source": "topic"} | EXACT
        return Rover(make_robot(**options | parameters), poses)

    return make


def test_behind_a_covered_lens_nothing_is_published_and_the_status_says_so(make_rover):
    rover = make_rover(output_stale_after_s=0.5)
    robot = rover.robot
    rover.start()
    rover.stand()
    rover.drive(range(1, LOCKED))
    rover.assert_true(LOCKED - 1)
    stamps_ns = itertools.count((LOCKED - 1) * FRAME_NS + 10**4, 10**4)

    def is_said():
        """A hand that stays before the lens until map -> odom has become too old."""
        rover.show(next(stamps_ns), BLACK)
        status = robot.messages["status"][-1]
        return status.level == DiagnosticStatus.ERROR and "the map waits: the image shows nothing" in status.message

    robot.until(is_said, "an error that names the lens")
    transforms = len(robot.messages["/tf"])
    assert int(robot.status()["refused"]) > 0  # a second goes by
    assert len(robot.messages["/tf"]) == transforms
    for topic in (*SETS, "points"):
        assert rover.numbers(topic)[-1] == LOCKED - 1
    assert any("is the camera covered?" in complaint for complaint in robot.complaints)
    rover.drive(range(LOCKED, COUNT))
    rover.assert_true(COUNT - 1)
    assert robot.messages["/tf"][transforms:]
    assert {t.child_frame_id for t in robot.messages["/tf"]} == {"odom"}
    assert robot.status()["map_id"] == "0"


def test_what_the_network_does_not_trust_gets_no_place(make_rover):
    rover = make_rover()
    robot = rover.robot
    rover.start()
    rover.stand()
    rover.drive(range(1, LOCKED))
    assert robot.set(confidence_min=100.0)[0].successful
    for number in range(LOCKED, LOCKED + 6):
        rover.send_odometry(number)
        rover.show(number * FRAME_NS)
        robot.until(lambda n=number: robot.parts.mapper.latest_stamp_ns == n * FRAME_NS, "admission")
    robot.until(lambda: robot.parts.mapper.counters.read().dropped == 6, "frames that are dropped")
    status = robot.status()
    assert (status["level"], status["in_flight"]) == (DiagnosticStatus.WARN, "0")
    assert "the map waits: too few pixels reach confidence.min" in status["message"]
    assert robot.set(confidence_min=1.0)[0].successful
    rover.drive(range(LOCKED + 6, COUNT))
    rover.assert_true(COUNT - 1)
    assert not set(range(LOCKED, LOCKED + 6)) & set(rover.numbers("pose"))
    status = robot.status()
    assert (status["map_id"], status["level"]) == ("0", DiagnosticStatus.OK)
    assert int(status["accepted"]) == int(status["published"]) + int(status["dropped"]) == COUNT - 1


def test_a_jump_of_odometry_moves_odom_and_not_the_map(make_rover):
    rover = make_rover()
    jump = pose((5, -3, 0))

    def send_faulty(rover, number):
        rover.send_odometry(number, jump @ rover.odom_from_base(number) if number >= LOCKED else None)

    rover.start()
    rover.stand()
    rover.drive(range(1, COUNT), send_faulty)
    rover.assert_true(COUNT - 1)
    assert any("odometry jumped by" in complaint for complaint in rover.robot.complaints)
    rover.robot.until(lambda: rover.robot.messages["/tf"][-1].transform.translation.x < -4.9, "odom at its new place")
    t = rover.robot.messages["/tf"][-1].transform.translation
    np.testing.assert_allclose([t.x, t.y, t.z], inverse(jump)[:3, 3], atol=3e-2)


def test_odometry_that_is_nan_for_a_while_is_as_good_as_silent(make_rover):
    rover = make_rover()

    def send_faulty(rover, number):
        is_nan = number in range(LOCKED, LOCKED + 8)
        odom_from_base = rover.odom_from_base(number)
        odom_from_base[:3, 3] = np.nan if is_nan else odom_from_base[:3, 3]
        rover.send_odometry(number, odom_from_base, wait=not is_nan)

    rover.start()
    rover.stand()
    rover.drive(range(1, COUNT), send_faulty)
    rover.assert_true(COUNT - 1)
    assert rover.numbers("pose")[-15:] == list(range(COUNT - 15, COUNT))
    assert any("odometry refused" in complaint for complaint in rover.robot.complaints)
    assert rover.robot.status()["odometry_problem"] == "none"


def test_odometry_in_tf_that_comes_after_its_image_is_waited_for(make_rover):
    rover = make_rover(odometry_source="tf", tf_timeout_s=1.0)

    def drive_first(number):
        rover.show(number * FRAME_NS)
        rover.robot.until(lambda: rover.robot.parts.mapper.latest_stamp_ns == number * FRAME_NS, "admission")
        rover.tf.sendTransform(transform_message(rover.odom_from_base(number), "odom", "base_link", number * FRAME_NS))
        rover.wait_for(number)

    rover.start()
    rover.stand()
    for number in range(1, COUNT):
        drive_first(number)
    rover.assert_true(COUNT - 1)
    assert rover.robot.status()["odometry_problem"] == "none"
    assert rover.numbers("pose") == list(range(rover.numbers("pose")[0], COUNT))


@pytest.mark.parametrize(
    ("source", "reason"),
    [("topic", "no transform from 'cam' to 'base_link'"), ("tf", "no transform from 'base_link' to 'odom'")],
)
def test_what_tf_does_not_know_is_named_and_nothing_gets_a_length(make_rover, source, reason):
    rover = make_rover(odometry_source=source)
    rover.start()
    if source == "tf":
        rover.stand()
    rover.drive(range(1, 12), Rover.send_odometry if source == "topic" else lambda *_: None)
    status = rover.robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert reason in status["message"]
    assert not any(rover.robot.messages[topic] for topic in LENGTHS)
    if source == "topic":
        rover.stand()  # late
        rover.drive(range(12, COUNT))
        rover.assert_true(COUNT - 1)


def test_a_wrong_mount_shows_in_the_residual_and_nothing_gets_a_length(make_rover):
    rover = make_rover()
    rover.start()
    rover.stand(BASE_FROM_CAM @ pose((0, 0, 0), 0.6))
    rover.drive(range(1, COUNT))
    status = rover.robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert "withheld" in status["message"]
    assert float(status["scale_residual"]) > 0.3
    assert "mount" in status["message"]
    assert not any(rover.robot.messages[topic] for topic in LENGTHS)


@pytest.fixture
def make_tree(ros):
    """A tree, a broadcaster that it hears, and an executor that brings it what was sent."""
    node, executor = ros.create_node("tree"), SingleThreadedExecutor()
    executor.add_node(node)
    trees = []

    def make(timeout_s):
        trees.append(TfTree(node, timeout_s))
        return trees[-1], TransformBroadcaster(node), executor

    yield make
    executor.remove_node(node)
    for tree in trees:
        tree.close()
    node.destroy_node()


def test_a_look_up_ends_when_the_transform_comes(make_tree):
    tree, broadcaster, executor = make_tree(timeout_s=3600.0)
    found, moved = [], pose((1.0, 2.0, 3.0))
    asking = threading.Thread(target=lambda: found.append(tree.look_up("odom", "base_link", FRAME_NS)), daemon=True)
    asking.start()
    while not broadcaster.pub_tf.get_subscription_count():
        executor.spin_once(timeout_sec=0.01)
    assert found == []
    broadcaster.sendTransform(transform_message(moved, "odom", "base_link", FRAME_NS))
    while asking.is_alive():
        executor.spin_once(timeout_sec=0.01)
    np.testing.assert_allclose(found[0], moved)


def test_what_was_waited_for_in_vain_is_not_waited_for_again_until_it_comes(make_tree):
    tree, broadcaster, executor = make_tree(timeout_s=0.01)
    with pytest.raises(TreeError, match="no transform from 'base_link' to 'odom' at the image's stamp"):
        tree.look_up("odom", "base_link", FRAME_NS)
    tree._timeout_s = 3600.0
    with pytest.raises(TreeError):
        tree.look_up("odom", "base_link", FRAME_NS)  # at once, or this test never ends
    while tree.parent("base_link") is None:
        broadcaster.sendTransform(transform_message(np.eye(4), "odom", "base_link", FRAME_NS))
        executor.spin_once(timeout_sec=0.01)
    np.testing.assert_allclose(tree.look_up("odom", "base_link", FRAME_NS), np.eye(4))
    assert not tree._hopeless
