"""Parameters by groups: names, what is refused, and what is only warned about."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from rclpy.parameter import Parameter

from dvlt_ros.errors import ConfigError
from dvlt_ros.parameter_names import LAUNCH_ARGUMENTS, RENAMED
from dvlt_ros.parameters import parameters_of
from dvlt_ros.ros.config import NodeConfig, Settings
from dvlt_ros.ros.node import ReconstructNode
from dvlt_ros.ros.parameters import unknown_parameters

NAMES = [name for name, _, _ in parameters_of(Settings)]


@pytest.fixture
def make_node(ros):
    nodes = []

    def make(*cli_args, **overrides):
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(ReconstructNode(parameter_overrides=values, cli_args=["--ros-args", *cli_args]))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()
        node.destroy_node()


def test_each_name_is_there_once_and_in_a_group():
    assert len(NAMES) == len(set(NAMES))
    assert all(name.count(".") == 1 for name in NAMES)
    assert not set(RENAMED) & set(NAMES)
    assert set(RENAMED.values()) <= set(NAMES)
    assert set(LAUNCH_ARGUMENTS.values()) <= set(NAMES)


def test_the_node_has_all_of_them(make_node):
    node = make_node()
    assert all(node.has_parameter(name) for name in NAMES)
    assert "; for experts" in node.describe_parameter("scale.max_rate").description
    assert "; for experts" not in node.describe_parameter("budget.latency_ms").description


def test_a_file_may_nest_groups_or_write_them_with_a_dot(make_node, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("/**: {ros__parameters: {window.size: 6, budget: {k_max: 7}, cameras.names: [left, right]}}")
    node = make_node("--params-file", str(path))
    values = {name: node.get_parameter(name).value for name in ("window.size", "budget.k_max", "cameras.names")}
    assert values == {"window.size": 6, "budget.k_max": 7, "cameras.names": ["left", "right"]}
    assert node._settings.current.mapper.cameras is node._settings.current.node.cameras


@pytest.mark.parametrize(("old", "value"), [("max_seam_residual", 0.2), ("loops", "never"), ("cameras", ["a", "b"])])
def test_an_old_name_is_refused_with_the_new_one(make_node, old, value):
    with pytest.raises(ConfigError, match=f"{old} is now {RENAMED[old]}"):
        make_node(**{old: value})
    node = make_node()
    result = node.set_parameters_atomically([Parameter(old, value=value), Parameter("window.size", value=5)])
    assert (result.successful, result.reason) == (False, f"{old} is now {RENAMED[old]}")
    assert node.get_parameter("window.size").value == 8


def test_names_that_nobody_knows_are_warned_about(make_node, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "/**: {ros__parameters: {windw.size: 6, size: 6, zzz: 1, window.overlap: 2, use_sim_time: false, "
        "qos_overrides: {/points: {publisher: {depth: 7}}}, diagnostic_updater.period: 2.0}}"
    )
    node = make_node("--params-file", str(path))
    assert list(unknown_parameters(node)) == [
        "there is no parameter size, did you mean window.size?",
        "there is no parameter windw.size, did you mean window.size?",
        "there is no parameter zzz",
    ]


def test_groups_are_checked_together(make_node):
    node = make_node(**{"window.size": 6, "window.overlap": 5})
    both = [Parameter("window.size", value=3), Parameter("window.overlap", value=2)]
    assert not node.set_parameters_atomically(both[:1]).successful
    assert node.set_parameters_atomically(both).successful
    refused = node.set_parameters_atomically([Parameter("tf.mode", value="map_to_odom")])
    assert refused.reason == "tf.mode map_to_odom needs odometry: set odometry.source to topic or tf"
    cameras = node.set_parameters_atomically([Parameter("cameras.names", value=["left", "right"])])
    assert cameras.reason == ("window.size must be at least 4, two frame sets of 2 cameras (cameras.names), got 3")


@pytest.mark.parametrize("value", [90, "90"])
def test_a_rotation_may_be_a_word_or_a_number(make_node, value):
    node = make_node()
    assert node.get_parameter("model.image_rotation").value == "auto"
    assert make_node(**{"model.image_rotation": value})._settings.current.mapper.model.image_rotation == 90
    for given, rotation in ((value, 90), ("auto", "auto"), (0, 0)):
        assert node.set_parameters_atomically([Parameter("model.image_rotation", value=given)]).successful
        assert node._settings.current.mapper.model.image_rotation == rotation
    refused = node.set_parameters_atomically([Parameter("model.image_rotation", value=45)])
    assert refused.reason == "model.image_rotation must be one of ('auto', 0, 90, 180, 270), got 45"


def test_the_node_knows_what_metres_come_from():
    assert not NodeConfig().has_metric_source
    assert NodeConfig().placement == "map_to_camera"


@pytest.mark.parametrize(
    ("name", "frame"),
    [("frames.map", "/map"), ("frames.map", ""), ("frames.map", " map"), ("frames.base", "/base_link"),
     ("frames.prefix", "/robot1/"), ("input.camera_frame", "/camera_optical_frame"), ("odometry.frame", "//odom")],
)  # fmt: skip
def test_frames_are_named_as_tf_2_names_them(make_node, name, frame):
    with pytest.raises(ConfigError, match=f"^{name}[ :]"):
        make_node(**{name: frame})


def test_the_map_is_no_frame_of_odometry(make_node):
    with pytest.raises(ConfigError, match=r"frames\.map and odometry\.frame are two frames, got 'odom' for both"):
        make_node(**{"odometry.source": "tf", "frames.map": "odom"})
