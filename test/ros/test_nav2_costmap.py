"""The costmap configuration that is handed out names topics as the node publishes them, in a way that Nav2 takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from dvlt_ros.ros.config import Settings
from dvlt_ros.ros.outputs.frame_outputs import LATCHED

ROOT = Path(__file__).resolve().parents[2]


def test_the_static_layer_gets_what_it_subscribes_to():
    text = (ROOT / "config/nav2_costmap.yaml").read_text()
    costmap = yaml.safe_load(text)["global_costmap"]["global_costmap"]["ros__parameters"]
    settings = Settings()
    assert costmap["global_frame"] == settings.node.frames.map
    assert costmap["robot_base_frame"] == settings.node.frames.base
    assert all(name in costmap for name in costmap["plugins"])
    static, obstacles = costmap["static_layer"], costmap["obstacle_layer"]["obstacles"]
    assert static["map_topic"] == "/grid"
    assert static["map_subscribe_transient_local"]
    assert LATCHED.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert LATCHED.reliability != ReliabilityPolicy.BEST_EFFORT
    assert obstacles["topic"] == "/obstacles"
    assert obstacles["max_obstacle_height"] == settings.node.obstacles.max_height_m
