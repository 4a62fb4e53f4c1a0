"""The node with two cameras, over real DDS: frame sets, metres from their distance, and cameras that fail."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.time import Time
from robot import as_image
from room import FRAME_NS, INTRINSICS, SIZE, FakePredictor, picture, pose, room_depth, walk
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_ros import StaticTransformBroadcaster

from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.mapping.keyframes.admission import BLANK
from dvlt_ros.mapping.maps.builder import MapBuilder
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.model import PixelMapping
from dvlt_ros.ros.messages import transform_message

LATER_NS = 1_000_000  # the right camera's shutter
BASE_FROM_OPTICAL = np.array([[0, 0, 1.0, 0.1], [-1, 0, 0, 0], [0, -1, 0, 0.4], [0, 0, 0, 1]])
LEFT, RIGHT = (BASE_FROM_OPTICAL @ pose((side, 0, 0)) for side in (-0.15, 0.15))  # 0.3 m apart
CAMERAS, COUNT = ("left", "right"), 26
FRAME_TOPICS = {"depth/image": Image, "points": PointCloud2, "rgb/image_rect": Image}


class TwoCameras:
    """Publishes both, with their camera_info, and listens to what the node publishes of each."""

    def __init__(self, robot):
        self.robot, me = robot, robot.me
        self.images = {name: me.create_publisher(Image, f"{name}/image", 10) for name in CAMERAS}
        self.infos = {name: me.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in CAMERAS}
        self.topics = [f"{name}/{topic}" for name in CAMERAS for topic in FRAME_TOPICS]
        for topic in self.topics:
            me.create_subscription(FRAME_TOPICS[topic.split("/", 1)[1]], topic, robot.messages[topic].append, 50)

    def start(self):
        robot = self.robot
        assert robot.change(Transition.TRANSITION_CONFIGURE)
        assert robot.change(Transition.TRANSITION_ACTIVATE)
        for publisher in (*self.images.values(), *self.infos.values()):
            robot.until(lambda p=publisher: p.get_subscription_count() > 0, publisher.topic_name)
        for topic in (*self.topics, "pose", "path", "map_points"):
            robot.until(lambda t=topic: robot.me.count_publishers(t) > 0, topic)
        outputs = robot.parts.outputs
        listened = [outputs._pose, outputs._path, outputs._map_points]
        listened += [vars(o)[f"_{n}"] for o in (outputs, *outputs._others.values()) for n in ("depth", "points", "rgb")]
        for publisher in listened:
            robot.until(lambda p=publisher: p.get_subscription_count() > 0, publisher.topic_name)
        robot.until(lambda: robot.sensors.tree._buffer.can_transform("base_link", "right", Time()), "the mounts")
        for name, info in self.infos.items():
            message = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="plumb_bob", d=[0.0] * 5)
            message.k = (INTRINSICS - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]).ravel().tolist()
            message.header.frame_id = name
            info.publish(message)
        robot.until(lambda: all(intake._lenses for intake in robot.node._stream.intakes), "the camera_info")

    def show(self, name, number, late_ns, image=None):
        image = picture(2 * number + (name == "right")).image if image is None else image
        message = Image(height=SIZE[0], width=SIZE[1], encoding="rgb8", step=3 * SIZE[1])
        message.data.frombytes(image.tobytes())
        stamp_ns = number * FRAME_NS + late_ns
        message.header.stamp, message.header.frame_id = Time(nanoseconds=stamp_ns).to_msg(), name
        self.images[name].publish(message)
        return stamp_ns

    def drive(self, numbers, names=CAMERAS, late_ns=LATER_NS):
        """Moments one after the other, each when the one before is published."""
        for number in numbers:
            for name in names:
                stamp_ns = self.show(name, number, late_ns * (name == "right"))
            topic = f"{names[-1]}/rgb/image_rect"
            self.robot.until(lambda t=topic, s=stamp_ns: s in self.robot.stamps(t) or len(names) == 1, "the frames")


@pytest.fixture
def make_rig(make_robot, monkeypatch):
    """Robots with two cameras, whose network is right up to a gauge per window."""

    def make(right=RIGHT, **parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)))
        for number, world_from_left in enumerate(walk(60), start=1):
            poses[number * FRAME_NS] = world_from_left
            poses[number * FRAME_NS + LATER_NS] = world_from_left @ inverse(LEFT) @ RIGHT
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        options = {
            "model_image_size": 28,
            "confidence_cut_share": 0.0,
            "registration_max_residual": 0.1,
            "cameras_names": list(CAMERAS),
        }
        robot = make_robot(**options | parameters)
        robot.poses, robot.mounts = poses, StaticTransformBroadcaster(robot.me)
        robot.mounts.sendTransform([
            transform_message(LEFT, "base_link", "left", 1), transform_message(right, "base_link", "right", 1),
        ])  # fmt: skip
        return TwoCameras(robot)

    return make


def test_two_cameras_give_metres_each_its_outputs_and_one_map(make_rig):
    rig = make_rig(output_publish_unscaled=True)  # it does not count where metres can be had
    robot = rig.robot
    rig.start()
    rig.drive(range(1, 3))
    assert not any(robot.messages[t] for t in ("left/depth/image", "right/points", "pose", "/tf", "map_points"))
    rig.drive(range(3, COUNT))
    last_ns = (COUNT - 1) * FRAME_NS
    robot.until(lambda: last_ns + LATER_NS in robot.stamps("right/depth/image"), "the last depth")
    for name in CAMERAS:
        robot.until(lambda n=name: len(robot.messages[f"{n}/depth/image"]) > 10, name)
        for message in robot.messages[f"{name}/depth/image"]:
            assert message.header.frame_id == name
            true = room_depth(robot.poses[Time.from_msg(message.header.stamp).nanoseconds])
            np.testing.assert_allclose(as_image(message), true, rtol=3e-2)
    robot.until(lambda: last_ns in robot.stamps("pose"), "the last pose")
    assert {stamp_ns % FRAME_NS for stamp_ns in robot.stamps("pose")} == {0}  # of the left camera alone
    robot.until(lambda: robot.messages["/tf"], "map -> base_link")
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("map", "base_link")}
    robot.until(lambda: robot.messages["path"] and len(robot.messages["path"][-1].poses) == COUNT - 1, "the path")
    status = robot.status()
    assert status["level"] == DiagnosticStatus.OK
    assert (status["scale_state"], status["scale_source"]) == ("locked", "baseline")
    assert (status["gravity"], status["cameras"], status["cameras_silent"]) == ("mount", "left, right", "none")
    assert float(status["rig_residual_deg"]) < 0.1
    assert "odometry_problem" not in status
    assert (status["accepted"], status["published"]) == (str(2 * COUNT - 2), str(2 * COUNT - 2))


@pytest.mark.parametrize("dead", CAMERAS)
def test_a_camera_that_dies_leaves_the_other_at_work_until_it_comes_back(make_rig, dead):
    (alive,) = set(CAMERAS) - {dead}
    dead_late_ns, late_ns = (LATER_NS * (name == "right") for name in (dead, alive))
    rig = make_rig(cameras_patience_s=2.0)
    robot = rig.robot
    rig.start()
    rig.drive(range(1, 16))
    number = 16
    while robot.status()["cameras_silent"] != dead:
        rig.drive([number], names=(alive,))
        number += 1
        assert number < 40
    last_ns = (number - 1) * FRAME_NS + late_ns
    robot.until(lambda: last_ns in robot.stamps(f"{alive}/depth/image"), "the depth of the camera that is left")
    robot.until(lambda: alive == "right" or last_ns in robot.stamps("pose"), "its pose")
    assert any(f"silent: {dead}" in complaint for complaint in robot.complaints)
    back_ns = rig.show(dead, number, dead_late_ns)
    robot.until(lambda: robot.parts.mapper.latest_stamp_ns >= back_ns, "the camera that was dead")
    rig.drive(range(number + 1, number + 4))
    assert robot.status()["cameras_silent"] == "none"
    assert {t.child_frame_id for t in robot.messages["/tf"]} == {"base_link"}


def test_a_map_of_which_the_first_camera_has_seen_nothing_is_published(make_rig):
    rig = make_rig()
    robot = rig.robot
    rig.start()
    builder, true = MapBuilder(MapConfig(), path_camera="left"), pose((0, 0, 0))
    builder.add(
        Reconstruction(
            FRAME_NS, "right", 0, 0, picture(0), room_depth(true), np.full(SIZE, 2.0, np.float32), INTRINSICS, true,
            PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)), "right",
        )
    )  # fmt: skip
    robot.parts.outputs.publish_map(builder.snapshot, True, robot.node._settings.current.node)
    robot.until(lambda: robot.messages["map_points"], "the map")
    assert robot.messages["map_points"][-1].width == len(builder.snapshot().cloud.points) > 0


def test_a_covered_camera_is_said_and_leaves_the_other_at_work(make_rig):
    rig = make_rig()
    robot = rig.robot
    rig.start()
    rig.drive(range(1, 16))
    for number in range(16, 20):
        left_ns = rig.show("left", number, 0)
        rig.show("right", number, LATER_NS, image=np.full((*SIZE, 3), 3, np.uint8))
        robot.until(lambda s=left_ns: s in robot.stamps("left/depth/image"), "the left camera alone")
    status = robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert status["message"] == f"cameras: right: {BLANK}"
    assert (status["refused"], status["map_id"]) == ("4", "0")
    assert max(robot.stamps("right/depth/image")) < 16 * FRAME_NS
    rig.drive(range(20, 23))
    status = robot.status()
    assert (status["level"], status["map_id"]) == (DiagnosticStatus.OK, "0")


def test_a_wrong_mount_is_said_and_nothing_gets_a_length(make_rig):
    rig = make_rig(right=RIGHT @ pose((0, 0, 0), 0.3))
    robot = rig.robot
    rig.start()
    rig.drive(range(1, COUNT))
    status = robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert "'left' and 'right' are seen 17.2 degrees from where their mounts have them" in status["message"]
    assert status["rig_residual_deg"] == "17.2"
    assert not robot.messages["left/depth/image"]
    assert not robot.messages["/tf"]


def test_cameras_that_are_not_synchronised_are_said(make_rig):
    rig = make_rig()
    robot = rig.robot
    rig.start()
    for number in range(1, 20):
        for name in CAMERAS:
            stamp_ns = rig.show(name, number, 40_000_000 * (name == "right"))
            robot.until(lambda s=stamp_ns: robot.parts.mapper.latest_stamp_ns >= s, "admission")
    robot.until(lambda: any("0.040 s apart or more" in complaint for complaint in robot.complaints), "the reason")
    assert not robot.messages["left/rgb/image_rect"]
    assert robot.status()["in_flight"] == "0"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"cameras_names": ["left"]}, "cameras.names must be empty or two names or more"),
        ({"cameras_names": ["left", "left"]}, "each once"),
        ({"cameras_names": ["left", "/right"]}, "names of topics"),
        ({"cameras_names": [1, 2]}, "must be a list of strings"),
    ],
)
def test_names_that_cannot_be_cameras_are_refused(make_rig, parameters, reason):
    with pytest.raises(ValueError, match=reason):
        make_rig(**parameters)


def test_a_window_that_holds_no_two_moments_is_refused_with_the_reason(make_rig):
    with pytest.raises(ValueError, match=r"window\.size must be at least 4, two frame sets of 2 cameras"):
        make_rig(window_size=3, window_overlap=1)
