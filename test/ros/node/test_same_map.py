"""The node and the offline tool are clients of one mapper: the same frames and configuration give the same map."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from robot import HEIGHT, ROOM, WIDTH

from dvlt_ros import reconstruct_bag
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.evaluation.reading import read_trajectory
from dvlt_ros.ros.messages import matrix_from_pose
from dvlt_ros.sources.poses import pose_from_quaternion

WINDOWS = (8, 5, 5)  # new frames of each full window of 8, of which 3 are shared
OPTIONS = {
    "model_image_size": 56, "budget_k_min": 2, "budget_k_max": 2, "keyframes_min_change": 0.0,
    "registration_max_residual": 0.9, "loops_mode": "never",
}  # fmt: skip


def node_poses(robot):
    """map_from_cam (N, 4, 4); the mapping thread is held back until each window's frames are there."""
    robot.start()
    mapping = robot.node._stream.mapping
    for count in WINDOWS:
        may_go_on, is_held = threading.Event(), threading.Event()
        held = mapping.request(lambda held=is_held, go=may_go_on: held.set() or go.wait(60))
        assert is_held.wait(60)
        for number in range(1, count + 1):  # one by one: the subscription's queue is shorter than a window
            robot.show()
            robot.until(lambda n=number: len(mapping._waiting) == n, "a frame")
        may_go_on.set()
        held.result(60)
        robot.until(lambda: robot.stamp_ns in robot.stamps("pose"), "the window's poses")
    return np.stack([matrix_from_pose(message.pose.pose) for message in robot.messages["pose"]])


def offline_poses(folder):
    photos = folder / "photos"
    photos.mkdir()
    for number in range(1, sum(WINDOWS) + 1):
        image = cv2.resize(
            cv2.imread(str(ROOM[number % len(ROOM)])), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA
        )  # its bytes are sent as rgb8
        assert cv2.imwrite(str(photos / f"{number:03d}.png"), image[..., ::-1])
    options = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    reconstruct_bag.main([str(photos), "--output", str(folder / "out"), "--device", "cpu", "--rate-hz", "10", *options])
    found = read_trajectory(folder / "out" / "trajectory_0.txt")
    pairs = zip(found.positions, found.quaternions, strict=True)
    return np.stack([pose_from_quaternion(position, quaternion, "trajectory") for position, quaternion in pairs])


def test_the_offline_tool_and_the_node_give_the_same_map(make_robot, tmp_path):
    robot = make_robot(weights=str(EMBEDDED_WEIGHTS), **OPTIONS)
    of_node, offline = node_poses(robot), offline_poses(tmp_path)
    assert of_node.shape == offline.shape == (sum(WINDOWS), 4, 4)
    np.testing.assert_allclose(of_node, offline, atol=1e-6)
