"""Files in config/: they name topics that the node publishes, and show its defaults."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import OccupancyGrid
from nav_msgs.msg import Path as PathMessage
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from dvlt_ros import parameters
from dvlt_ros.parameter_names import LAUNCH_ARGUMENTS
from dvlt_ros.ros.config import NodeConfig, Settings
from dvlt_ros.ros.inputs import pose_hint
from dvlt_ros.ros.outputs.topics import Outputs

ROOT = Path(__file__).resolve().parents[3]
PARAMETERS = ROOT / "config" / "reconstruct.yaml"
RVIZ = ROOT / "config" / "reconstruct.rviz"
DEFAULTS = {name: field.default for name, _, field in parameters.parameters_of(Settings)}
MESSAGES = {
    "PointCloud2": PointCloud2,
    "Image": Image,
    "Path": PathMessage,
    "MarkerArray": MarkerArray,
    "Map": OccupancyGrid,
    "PoseWithCovariance": PoseWithCovarianceStamped,
}
# In place of an executable: notes its arguments and what chooses its transport, and ends well.
RECORDER = """#!/bin/sh
trap '' INT TERM
printf '%s\\n' "$@" > {folder}/{name}.part
env | grep '^FAST' > {folder}/{name}.env
mv {folder}/{name}.part {folder}/{name}.arguments
"""


def parameters_of(text):
    return yaml.safe_load(text)["/**"]["ros__parameters"]


def test_commented_parameters_show_the_defaults_of_the_node():
    text = PARAMETERS.read_text()
    active = parameters_of(text)
    shown = parameters_of(re.sub(r"^    # ([\w.]+:.*  # .+)$", r"    \1", text, flags=re.MULTILINE))
    shown = {name: value for name, value in shown.items() if name not in active}
    assert {"model.weights", "budget.latency_ms", "window.size", "frames.map"} <= shown.keys()
    for name, value in shown.items():
        value = tuple(value) if isinstance(value, list) else value
        assert (value, type(value)) == (DEFAULTS[name], type(DEFAULTS[name])), name


def test_the_file_changes_only_that_one_camera_is_shown_without_metres():
    assert parameters_of(PARAMETERS.read_text()) == {"output.publish_unscaled": True}
    assert DEFAULTS["output.publish_unscaled"] is False


def test_rviz_shows_what_the_node_publishes(ros):
    node = LifecycleNode("published")
    outputs = Outputs(node, NodeConfig(), None, None)
    published = {publisher.topic_name.removeprefix("/"): publisher for publisher in node.publishers}
    manager = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]
    shown = {display["Topic"]["Value"]: display for display in manager["Displays"] if "Topic" in display}
    try:
        shown_from_the_start = {"points", "map_points", "rgb/image_rect", "depth/image", "path", "pose"}
        assert {topic for topic, display in shown.items() if display["Enabled"]} == shown_from_the_start
        assert shown.keys() - shown_from_the_start == {"mesh", "grid"}  # they cost time, and are made for a tick
        for topic, display in shown.items():
            plugin, kind = display["Class"].split("/")
            assert plugin == "rviz_default_plugins"
            assert published[topic].msg_type is MESSAGES[kind]
            is_latched = published[topic].qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            assert display["Topic"]["Durability Policy"] == ("Transient Local" if is_latched else "Volatile"), topic
    finally:
        outputs.close()
        node.destroy_node()


def test_rviz_looks_at_the_map_of_the_node():
    manager = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == DEFAULTS["frames.map"]
    assert manager["Views"]["Current"]["Target Frame"] == "<Fixed Frame>"
    classes = [display["Class"] for display in manager["Displays"]]
    assert {"rviz_default_plugins/Grid", "rviz_default_plugins/TF"} <= set(classes)
    (hint,) = [tool for tool in manager["Tools"] if tool["Class"].endswith("/SetInitialPose")]
    assert hint["Topic"]["Value"] == pose_hint.TOPIC


def test_the_layout_for_foxglove_shows_what_the_node_publishes(ros):
    layout = json.loads((ROOT / "config" / "foxglove.json").read_text())
    node = LifecycleNode("published")
    outputs = Outputs(node, NodeConfig(), None, None)
    published = {publisher.topic_name for publisher in node.publishers} | {"/status", "/diagnostics"}
    outputs.close()
    node.destroy_node()

    def panels(place):
        return [place] if isinstance(place, str) else [*panels(place["first"]), *panels(place["second"])]

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
    text = json.dumps(layout["configById"])
    shown = set(re.findall(r'"(/[a-z_/]+)"', text)) - {"/move_base_simple/goal", "/clicked_point", "/initialpose"}
    assert shown <= published
    assert {"/map_points", "/points", "/path", "/depth/image", "/rgb/image_rect", "/odometry"} <= shown
    assert layout["configById"]["3D!map"]["followTf"] == DEFAULTS["frames.map"]


def test_rtabmap_is_fed_with_topics_that_the_node_publishes(ros):
    """Of what its launch file renames; its parameters are those of two nodes, whatever their namespace."""
    text = (ROOT / "launch" / "rtabmap.launch.py").read_text()
    node = LifecycleNode("published")
    outputs = Outputs(node, NodeConfig(), None, None)
    published = {publisher.topic_name.removeprefix("/"): publisher.msg_type for publisher in node.publishers}
    outputs.close()
    node.destroy_node()
    renamed = dict(re.findall(r'\("([\w/]+)", "([\w/]+)"\)', text))
    assert {ours: published[ours].__name__ for ours in renamed.values()} == {
        "rgb/image_rect": "Image", "depth/image": "Image", "depth/camera_info": "CameraInfo", "odometry": "Odometry",
    }  # fmt: skip
    assert compile(text, "rtabmap.launch.py", "exec")
    assert set(re.findall(r'executable="(\w+)"', text)) == {"rgbd_sync", "rtabmap"}
    given = yaml.safe_load((ROOT / "config" / "rtabmap.yaml").read_text())
    assert given.keys() == {"/**/rgbd_sync", "/**/rtabmap"}
    assert given["/**/rtabmap"]["ros__parameters"]["frame_id"] == DEFAULTS["frames.base"]
    assert LAUNCH_ARGUMENTS["tf_mode"] == "tf.mode"
