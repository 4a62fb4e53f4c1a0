"""Mesh and grid of the node, over real DDS: computed for subscribers alone, in metres, with a reason where withheld."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from lap import EXACT
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot_odometry import add_odometry, drive, start
from room import FRAME_NS, FakePredictor, pose, walk
from visualization_msgs.msg import Marker, MarkerArray

COUNT = 45
# As Nav2's static layer subscribes: map_subscribe_transient_local.
LATCHED = QoSProfile(
    depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)  # fmt: skip


@pytest.fixture
def make_wheeled(make_robot, monkeypatch):
    """Robots whose network is exact up to a gauge per window, with exact odometry."""

    def make(**parameters):
        poses = defaultdict(lambda: pose((0, 0, 0)), {(i + 1) * FRAME_NS: p for i, p in enumerate(walk(COUNT + 5))})
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: FakePredictor(poses))
        robot = make_robot(**{"odometry_source": "topic"} | EXACT | parameters)
        add_odometry(robot, poses)
        return robot

    return make


def test_mesh_and_grid_of_a_room_come_to_who_subscribes(make_wheeled):
    robot = make_wheeled()
    start(robot)
    drive(robot, range(1, COUNT))
    surfaces = robot.parts.mapper.surfaces
    assert surfaces.num_keyframes > 3
    assert surfaces.meshes() is None  # nobody has asked
    meshes, grids = [], []
    robot.me.create_subscription(MarkerArray, "mesh", meshes.append, 10)
    robot.me.create_subscription(OccupancyGrid, "grid", grids.append, LATCHED)
    robot.until(lambda: any(m.markers[-1].points for m in meshes), "the mesh")
    assert meshes[0].markers[0].action == Marker.DELETEALL
    markers = next(m for m in meshes if m.markers[-1].points).markers
    assert {marker.header.frame_id for marker in markers} == {"map"}
    assert {marker.type for marker in markers} == {Marker.TRIANGLE_LIST}
    robot.until(lambda: grids, "the grid")
    grid = grids[-1]
    assert grid.header.frame_id == "map"
    assert len(grid.data) == grid.info.width * grid.info.height
    assert set(grid.data) <= {-1, 0, 100}
    assert 0 in grid.data
    late = []
    robot.me.create_subscription(OccupancyGrid, "grid", late.append, LATCHED)
    robot.until(lambda: late, "the latched grid")
    np.testing.assert_array_equal(late[-1].data, grids[-1].data)


def test_a_grid_without_metres_is_withheld_in_one_clear_line(make_robot):
    robot = make_robot()
    robot.start()
    robot.me.create_subscription(OccupancyGrid, "grid", lambda _: None, LATCHED)
    robot.show_and_wait()
    robot.until(lambda: "grid is withheld: heights are not known in metres" in robot.status()["message"], "the reason")
