"""Obstacles for a costmap, over real DDS: in metres or not at all, and with a ground that TF knows."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from lap import EXACT
from nav_msgs.msg import Odometry
from rclpy.time import Time
from robot import TOPICS
from room import FRAME_NS, SIZE, WALLS, FakePredictor, pose
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from tf2_ros import StaticTransformBroadcaster

from dvlt_ros.ros.config import ObstaclesConfig
from dvlt_ros.ros.messages import pose_message, transform_message

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0], [0, -1, 0, WALLS[1, 1]], [0, 0, 0, 1.0]])  # z = 0: the floor
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, WALLS[1, 1]], [0, 0, 0, 1]])
POSES = {(i + 1) * FRAME_NS: pose((0.04 * i - 0.3, 0, 0.06 * i - 1), 0.06 * i) for i in range(50)}  # camera 1 m up
LOCKED = 35  # frames after which the scale is known


@pytest.fixture
def make_wheeled(make_robot, monkeypatch):
    """Robots on the room's floor, whose network is right up to a gauge per window; ``mounts`` are frames below it."""

    def make(mounts=("base_link",), **parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)), POSES)
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        options = {"odometry_source": "topic"} | EXACT
        robot = make_robot(**options | parameters)
        robot.odom = robot.me.create_publisher(Odometry, "odom", 50)
        robot.mount = StaticTransformBroadcaster(robot.me)
        for frame in mounts:
            stand(robot, frame)
        robot.start()
        robot.until(lambda: knows(robot, mounts), "the mounts")
        if robot.sensors.odometry is not None:
            robot.until(lambda: robot.odom.get_subscription_count() > 0, "the node's subscription of odometry")
        return robot

    return make


def stand(robot, frame, base_from_cam=BASE_FROM_CAM):
    """The camera is above ``frame``; a camera has one parent, so that all frames hang below it."""
    robot.mount.sendTransform(transform_message(np.linalg.inv(base_from_cam), "cam", frame, 1))


def knows(robot, frames):
    known = robot.sensors.tree._buffer.all_frames_as_yaml()
    return all(frame in known for frame in frames)


def drive(robot, numbers):
    """Frames one after the other, each when odometry has arrived and the frame before is published."""
    for number in numbers:
        if robot.sensors.odometry is not None:
            say(robot, number)
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: n * FRAME_NS in robot.stamps("rgb/image_rect") or n == 1, "the frame")


def say(robot, number):
    message = Odometry(child_frame_id="base_link")
    message.header.stamp, message.header.frame_id = Time(nanoseconds=number * FRAME_NS).to_msg(), "odom"
    odom_from_base = ODOM_FROM_WORLD @ POSES[number * FRAME_NS] @ np.linalg.inv(BASE_FROM_CAM)
    message.pose.pose = pose_message(odom_from_base)
    robot.odom.publish(message)
    history = robot.sensors.odometry._history
    robot.until(lambda: history.latest_ns is not None and history.latest_ns >= number * FRAME_NS, "the odometry")


def base_points(cloud):
    """(N, 3) of a message in base_link."""
    points = point_cloud2.read_points(cloud, ["x", "y", "z"])
    points_cam = np.stack([points[axis] for axis in "xyz"], -1).astype(np.float64)
    return points_cam @ BASE_FROM_CAM[:3, :3].T + BASE_FROM_CAM[:3, 3]


def world_points(cloud):
    base = np.c_[base_points(cloud), np.ones(cloud.width)]
    world_from_base = POSES[Time.from_msg(cloud.header.stamp).nanoseconds] @ np.linalg.inv(BASE_FROM_CAM)
    return (base @ world_from_base.T)[:, :3]


def test_obstacles_are_the_walls_in_metres_and_never_before_the_scale_is_known(make_wheeled):
    robot = make_wheeled(output_publish_unscaled=True)
    drive(robot, range(1, 6))
    assert robot.status()["scale_state"] != "locked"
    assert not robot.messages["obstacles"]
    drive(robot, range(6, LOCKED))
    robot.until(lambda: (LOCKED - 1) * FRAME_NS in robot.stamps("obstacles"), "the last frame's obstacles")
    robot.until(lambda: robot.stamps("points") == robot.stamps("obstacles"), "one cloud for every frame with lengths")
    for points, obstacles in zip(robot.messages["points"], robot.messages["obstacles"], strict=True):
        assert obstacles.header == points.header
        assert obstacles.header.frame_id == "cam"  # where rays begin
        assert {"x", "y", "z", "confidence"} <= {field.name for field in obstacles.fields}
        assert obstacles.is_dense
        heights = base_points(obstacles)[:, 2]
        assert np.isfinite(heights).all()
        assert (heights >= 0.05 - 1e-5).all()
        assert (heights <= 2.0 + 1e-5).all()
        off_wall = np.abs(world_points(obstacles)[:, None, ::2] - WALLS[None, :, ::2]).min(axis=(1, 2))
        assert off_wall.max() < 0.15
        assert 0 < obstacles.width < points.width
    assert robot.status()["level"] == DiagnosticStatus.OK


def test_without_the_ground_there_are_none_and_the_status_says_why_if_somebody_wants_them(make_wheeled):
    robot = make_wheeled(mounts=("base_link",), frames_base="base_footprint")
    drive(robot, range(1, LOCKED))
    assert len(robot.messages["points"]) > 3
    assert not robot.messages["obstacles"]
    status = robot.status()
    assert status["level"] == DiagnosticStatus.WARN
    assert "obstacles are withheld: no transform from 'cam' to 'base_footprint'" in status["message"]
    stand(robot, "base_footprint")
    robot.until(lambda: knows(robot, ["base_footprint"]), "the ground")
    drive(robot, [LOCKED])
    robot.until(lambda: robot.stamps("obstacles") == [LOCKED * FRAME_NS], "obstacles")
    assert robot.status()["level"] == DiagnosticStatus.OK


def test_what_nobody_listens_to_is_not_made(make_wheeled, monkeypatch):
    made = []
    monkeypatch.setattr("dvlt_ros.ros.outputs.frame_outputs.obstacle_points", lambda *arguments: made.append(arguments))
    robot = make_wheeled(mounts=("base_link",), frames_base="nowhere")
    for listener in [s for s in robot.me.subscriptions if s.topic_name in ("/obstacles", "/odometry")]:
        robot.where_it_spins(robot.me.destroy_subscription, listener)
    robot.until(lambda: not robot.parts.outputs._obstacles.get_subscription_count(), "nobody")
    robot.until(lambda: not robot.parts.outputs._visual_odometry.get_subscription_count(), "nobody")
    drive(robot, range(1, LOCKED))
    robot.until(lambda: robot.messages["points"], "points")
    assert not made
    assert robot.status()["level"] == DiagnosticStatus.OK  # nobody misses the ground either


def test_unscaled_lengths_never_become_obstacles(make_wheeled):
    robot = make_wheeled(odometry_source="none", output_publish_unscaled=True)
    drive(robot, range(1, 10))
    robot.until(lambda: 9 * FRAME_NS in robot.stamps("points"), "points")
    assert not robot.messages["obstacles"]


def test_the_heights_change_while_it_runs_and_the_lower_one_stays_below(make_wheeled):
    robot = make_wheeled()
    drive(robot, range(1, LOCKED))
    (result,) = robot.set(obstacles_min_height_m=2.5)
    assert not result.successful
    assert "obstacles.max_height_m must be above obstacles.min_height_m, got 2.0 and 2.5" in result.reason
    assert all(result.successful for result in robot.set(obstacles_min_height_m=0.8, obstacles_max_height_m=1.2))
    drive(robot, [LOCKED])
    robot.until(lambda: LOCKED * FRAME_NS in robot.stamps("obstacles"), "obstacles")
    heights = base_points(robot.messages["obstacles"][-1])[:, 2]
    assert len(heights) > 10
    assert heights.min() >= 0.8 - 1e-5
    assert heights.max() <= 1.2 + 1e-5
    assert all(result.successful for result in robot.set(obstacles_max_height_m=60.0, obstacles_min_height_m=50.0))
    drive(robot, [LOCKED + 1])
    robot.until(lambda: (LOCKED + 1) * FRAME_NS in robot.stamps("obstacles"), "a cloud")
    assert robot.messages["obstacles"][-1].width == 0  # so that a costmap does not keep what was there before


def test_a_camera_that_sees_nothing_does_not_say_that_nothing_is_there(make_wheeled):
    robot = make_wheeled()
    drive(robot, range(1, LOCKED))
    assert robot.set(confidence_min=100.0, confidence_min_share=0.0)[0].successful
    drive(robot, range(LOCKED, LOCKED + 3))
    robot.until(lambda: robot.messages["points"][-1].width == 0, "a frame in metres without depth")
    assert all(obstacles.width for obstacles in robot.messages["obstacles"])


def test_the_costmap_on_the_page_listens_to_what_the_node_says():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "robot" / "nav2.md").read_text()
    snippet = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    layer = snippet["local_costmap"]["local_costmap"]["ros__parameters"]["voxel_layer"]
    sources = {name: layer[name] for name in layer["observation_sources"].split()}
    for source in sources.values():
        assert TOPICS[source["topic"].lstrip("/")][0] is PointCloud2
        assert source["data_type"] == "PointCloud2"
        assert "sensor_frame" not in source  # rays begin where the message is from
    (marking,) = [source for source in sources.values() if source["marking"]]
    (clearing,) = [source for source in sources.values() if source["clearing"]]
    assert marking["topic"] == "/obstacles"
    assert clearing["topic"] == "/points"
    node, top = ObstaclesConfig(), layer["origin_z"] + layer["z_voxels"] * layer["z_resolution"]
    assert clearing["min_obstacle_height"] < 0 < node.max_height_m < clearing["max_obstacle_height"]
    assert marking["min_obstacle_height"] < node.min_height_m
    assert layer["max_obstacle_height"] == marking["max_obstacle_height"] == node.max_height_m <= top
