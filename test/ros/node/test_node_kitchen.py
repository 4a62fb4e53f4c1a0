"""The node on real frames and odometry, over real DDS: metres leave it.

The odometry is the recorded truth, which the images contradict: docs/lab/trajectories.md.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import registered_kitchen

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from rclpy.time import Time
from robot import as_image
from robot_odometry import add_odometry, has_odometry, number_of, send_odometry, start
from room import FRAME_NS
from sensor_msgs.msg import CameraInfo

from dvlt_ros.ros.messages import header, image_message
from dvlt_ros.training.data.readers import numbered

KITCHEN = Path(__file__).resolve().parents[4] / "shared" / "data" / "rgbd_kitchen"
EVERY, COUNT, MOST = 2, 60, 50  # recorded frames per shown one, shown ones, and those within which the scale is known
BURST = 5  # frames that a window takes at once
SIZE = (240, 320)
DEPTH_SCALE = 0.93  # of pycolmap's depth over the recorded one, its path as long as the recorded one
INTRINSICS = (262.5, 0.0, 160.0, 0.0, 262.5, 120.0, 0.0, 0.0, 1.0)
OPTIONS = {
    "odometry_source": "topic", "model_image_size": 0, "registration_max_residual": 0.1, "loops_mode": "never",
}  # fmt: skip


@pytest.fixture
def recording(tmp_path):
    if not KITCHEN.is_dir():
        pytest.skip("the recording is not here; ../shared/data/rgbd_kitchen beside the project runs this")
    registered_kitchen.register(KITCHEN, tmp_path / "kitchen")
    return numbered.read(tmp_path / "kitchen")


def true_poses(recording):
    return {(1 + i) * FRAME_NS: pose for i, pose in enumerate(recording.world_from_cam[: EVERY * COUNT : EVERY])}


def shown(recording, number):
    return recording.frame(EVERY * (number - 1))


def show(robot, recording, number):
    small = cv2.resize(shown(recording, number).image, SIZE[::-1], interpolation=cv2.INTER_AREA)
    robot.camera.publish(image_message(small, "rgb8", header("cam", number * FRAME_NS)))


def true_depth(recording, number, size):
    depth = shown(recording, number).depth
    depth = np.where(depth > 0, depth, np.float32(np.nan))
    return cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST)


def path(robot):
    positions = [message.pose.pose.position for message in robot.messages["pose"]]
    return np.array([(p.x, p.y, p.z) for p in positions])


def test_with_odometry_the_scale_is_known_and_metres_leave_the_node(make_robot, recording):
    robot = make_robot(**OPTIONS)
    add_odometry(robot, true_poses(recording))
    start(robot)
    robot.camera_info.publish(
        CameraInfo(header=header("cam", 1), height=SIZE[0], width=SIZE[1], distortion_model="plumb_bob",
                   d=[0.0] * 5, k=INTRINSICS, p=[*INTRINSICS[:3], 0.0, *INTRINSICS[3:6], 0.0, *INTRINSICS[6:], 0.0])
    )  # fmt: skip
    for first in range(1, COUNT + 1, BURST):
        numbers = range(first, first + BURST)
        for number in numbers:
            send_odometry(robot, number)
        robot.until(lambda last=numbers[-1]: has_odometry(robot, last), "the odometry")
        for number in numbers:
            show(robot, recording, number)
        robot.until(lambda n=numbers[-1]: n * FRAME_NS in robot.stamps("rgb/image_rect"), "the burst's last frame")
    status = robot.status()
    assert (status["scale_state"], status["scale_source"]) == ("locked", "odometry"), status
    robot.until(lambda: COUNT in map(number_of, robot.messages["depth/image"]), "the last depth image")
    assert number_of(robot.messages["depth/image"][0]) <= MOST
    ratios = []
    for message in robot.messages["depth/image"]:
        depth = as_image(message)
        ratios.append((depth / true_depth(recording, number_of(message), depth.shape)).ravel())
    # The windows of a live node depend on the load.
    assert np.nanmedian(np.concatenate(ratios)) == pytest.approx(DEPTH_SCALE, abs=0.04)
    robot.until(lambda: COUNT in map(number_of, robot.messages["pose"]), "the last pose")
    found, true = path(robot), np.stack([robot.poses[number_of(m) * FRAME_NS][:3, 3] for m in robot.messages["pose"]])
    assert np.sqrt(found.var(axis=0).sum() / true.var(axis=0).sum()) == pytest.approx(1.0, abs=0.03)
    robot.until(lambda: COUNT in map(number_of, robot.messages["points"]), "the last cloud")
    assert robot.messages["points"][-1].width > 1000
    robot.until(lambda: robot.messages["/tf"], "map -> odom")
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("map", "odom")}
    assert Time.from_msg(robot.messages["/tf"][-1].header.stamp).nanoseconds > 0
