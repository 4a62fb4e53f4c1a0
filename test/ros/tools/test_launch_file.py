"""Launch file and configurations: what they name exists, and what is asked for is what the processes get."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")


from dvlt_ros import parameters
from dvlt_ros.parameter_names import LAUNCH_ARGUMENTS
from dvlt_ros.ros.config import Settings
from dvlt_ros.ros.tools.play_camera import PlayConfig

ROOT = Path(__file__).resolve().parents[3]
LAUNCH_FILE = ROOT / "launch" / "reconstruct.launch.py"
RVIZ = ROOT / "config" / "reconstruct.rviz"
DEFAULTS = {name: field.default for name, _, field in parameters.parameters_of(Settings)}
OWN = DEFAULTS.keys() | PlayConfig.__dataclass_fields__.keys() | {"use_sim_time"}  # not those of rclpy
TRANSPORT = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
# In place of an executable: notes its arguments and what chooses its transport, and ends well.
RECORDER = """#!/bin/sh
trap '' INT TERM
printf '%s\\n' "$@" > {folder}/{name}.part
env | grep '^FAST' > {folder}/{name}.env
mv {folder}/{name}.part {folder}/{name}.arguments
"""


def parameters_of(text):
    return yaml.safe_load(text)["/**"]["ros__parameters"]


def test_the_launch_file_compiles():
    assert compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec")


# With the real launch: the executables are recorders, whose arguments rcl reads as it does for the real ones.


@pytest.fixture
def launch(tmp_path, monkeypatch):
    reason = "launch and launch_ros are not on the package index; with ROS 2 sourced, `make test` runs this"
    pytest.importorskip("launch_ros", reason=reason)
    module = pytest.importorskip("launch", reason=reason)
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    module.logging.reset()  # it would write to the streams of the first test
    return module


class Started:
    """What a process got."""

    def __init__(self, ros, record: Path) -> None:
        self.words = record.read_text().splitlines()
        self.environment = dict(line.split("=", 1) for line in record.with_suffix(".env").read_text().splitlines())
        ros_arguments = self.words[self.words.index("--ros-args") :]
        node = ros.create_node("unnamed", cli_args=ros_arguments, automatically_declare_parameters_from_overrides=True)
        self.name = node.get_fully_qualified_name()
        self.topics = {topic: node.resolve_topic_name(topic) for topic in ("image", "camera_info")}
        self.parameters = {name: node.get_parameter(name).value for name in OWN if node.has_parameter(name)}
        node.destroy_node()


@pytest.fixture
def start(ros, launch, tmp_path, monkeypatch):
    """Launches recorders with arguments; what was started, by executable."""
    for package, executable in (("dvlt_ros", "reconstruct"), ("dvlt_ros", "play_camera"), ("rviz2", "rviz2")):
        script = tmp_path / "lib" / package / executable
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(RECORDER.format(folder=tmp_path, name=executable))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        marker = tmp_path / "share/ament_index/resource_index/packages" / package
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}{os.pathsep}{os.environ.get('AMENT_PREFIX_PATH', '')}")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros.get_default_context().get_domain_id()))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # launch leaves its parameter files there
    for name in TRANSPORT:
        monkeypatch.delenv(name, raising=False)

    def run(**arguments):
        assert run_launch(launch, arguments) == 0
        return {record.stem: Started(ros, record) for record in tmp_path.glob("*.arguments")}

    return run


def run_launch(launch, arguments) -> int:
    """Exit status of the launch."""
    from launch.actions import IncludeLaunchDescription

    words = [(name, str(value)) for name, value in ({"autostart": "false"} | arguments).items()]
    service = launch.LaunchService()
    service.include_launch_description(
        launch.LaunchDescription([IncludeLaunchDescription(str(LAUNCH_FILE), launch_arguments=words)])
    )
    return service.run()


def described(launch):
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    return get_launch_description_from_python_launch_file(str(LAUNCH_FILE)).get_launch_arguments()


def test_every_argument_is_described(launch):
    arguments = {argument.name: argument.description for argument in described(launch)}
    assert {"params_file", "namespace", "use_sim_time", "image", "camera_info", "weights", "latency_budget_ms"} <= set(
        arguments
    )
    assert all(len(text) > 10 for text in arguments.values())
    of_the_node = {name for name, text in arguments.items() if "as in params_file" in text}
    assert of_the_node == {*LAUNCH_ARGUMENTS, "use_sim_time"}
    assert "(parameter budget.latency_ms; empty: as in params_file)" in arguments["latency_budget_ms"]


def test_without_arguments_the_node_gets_the_file_alone(start):
    started = start()
    assert set(started) == {"reconstruct"}
    node = started["reconstruct"]
    assert node.name == "/dvlt"
    assert node.topics == {"image": "/image", "camera_info": "/camera_info"}
    assert node.parameters == {"output.publish_unscaled": True, "use_sim_time": False}
    assert not node.environment  # of a transport that the camera's process does not share


def test_arguments_override_the_file_and_the_rest_stays(start, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "/**: {ros__parameters: {window.size: 6, budget: {latency_ms: 300.0}, frames.map: world}}\n"
        "/robot1/dvlt: {ros__parameters: {budget.k_max: 7, model.weights: special, model.device: cpu}}\n"
    )
    given = {"latency_budget_ms": 50, "weights": "12", "use_sim_time": "true", "map_frame": "house"}
    node = start(params_file=mine, namespace="robot1", **given)["reconstruct"]
    assert node.name == "/robot1/dvlt"
    assert node.parameters == {
        "window.size": 6,
        "budget.k_max": 7,
        "model.device": "cpu",
        "budget.latency_ms": 50.0,
        "model.weights": "12",
        "use_sim_time": True,
        "frames.map": "house",
    }
    assert type(node.parameters["budget.latency_ms"]) is float


@pytest.mark.parametrize(
    ("arguments", "image", "camera_info"),
    [
        ({"image": "/front/image_raw"}, "/front/image_raw", "/front/camera_info"),
        ({"image": "front/image_raw"}, "/robot1/front/image_raw", "/robot1/front/camera_info"),
        ({"image": "/front/image_raw", "camera_info": "info"}, "/front/image_raw", "/robot1/info"),
    ],
)
def test_topics(start, arguments, image, camera_info):
    node = start(namespace="robot1", **arguments)["reconstruct"]
    assert node.topics == {"image": image, "camera_info": camera_info}


@pytest.mark.parametrize(
    ("distribution", "variable"),
    [("kilted", "FASTDDS_DEFAULT_PROFILES_FILE"), ("jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE")],
)
def test_a_bag_is_played_into_the_nodes_topics(start, tmp_path, monkeypatch, distribution, variable):
    monkeypatch.setenv("ROS_DISTRO", distribution)
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**: {ros__parameters: {input.transport: compressed, use_sim_time: true}}")
    started = start(params_file=mine, namespace="robot1", image="front/image_raw", bag="12", bag_speed=0.5)
    node, camera = started["reconstruct"], started["play_camera"]
    assert camera.name == "/robot1/camera"
    assert (
        camera.topics == node.topics == {"image": "/robot1/front/image_raw", "camera_info": "/robot1/front/camera_info"}
    )
    played = {name: value for name, value in camera.parameters.items() if name in PlayConfig.__dataclass_fields__}
    assert played == {"source": "12", "speed": 0.5, "compressed": False, "wait_for_subscriber_s": 3600.0}
    assert node.parameters["input.transport"] == "raw"
    assert not node.parameters["use_sim_time"]
    assert not camera.parameters["use_sim_time"]
    assert set(node.environment) == {variable}
    assert Path(node.environment[variable]).samefile(ROOT / "config" / "fastdds.xml")
    assert camera.environment == node.environment


def test_a_bag_may_be_compressed_and_a_chosen_transport_stays(start, monkeypatch):
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    started = start(bag="somewhere", image_transport="compressed")
    assert started["reconstruct"].parameters["input.transport"] == "compressed"
    assert started["play_camera"].parameters["compressed"] is True
    assert started["play_camera"].environment == {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}


def test_rviz_looks_at_the_nodes_frame_in_its_namespace(start):
    viewer = start(rviz="true", namespace="robot1", frame_prefix="robot1/", use_sim_time="true")["rviz2"]
    assert Path(viewer.words[viewer.words.index("-d") + 1]).samefile(RVIZ)
    assert viewer.words[viewer.words.index("-f") + 1] == "robot1/map"
    assert viewer.name == "/robot1/unnamed"  # rviz2 names itself
    assert viewer.parameters["use_sim_time"] is True


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"params_file": "/nowhere.yaml"}, "params_file: /nowhere.yaml is not a file"),
        ({"latency_budget_ms": "soon"}, "latency_budget_ms: could not convert"),
        ({"bag": "somewhere", "use_sim_time": "true"}, "use_sim_time: not with bag"),
    ],
)
def test_what_cannot_be_launched_ends_with_a_reason(start, launch, capfd, arguments, reason):
    assert run_launch(launch, arguments) == 1
    out, err = capfd.readouterr()
    assert reason in out + err


@pytest.mark.parametrize("executable", ["reconstruct", "play_camera"])
def test_a_process_that_fails_ends_the_launch(start, launch, tmp_path, executable):
    others = {"reconstruct", "play_camera"} - {executable}
    (tmp_path / "lib/dvlt_ros" / executable).write_text("#!/bin/sh\nexit 3\n")
    for other in others:
        (tmp_path / "lib/dvlt_ros" / other).write_text("#!/bin/sh\nexec sleep 60\n")
    assert run_launch(launch, {"bag": "somewhere"}) == 1


def test_a_node_that_cannot_be_configured_ends_the_launch(start, launch, tmp_path, capfd):
    (tmp_path / "lib/dvlt_ros/reconstruct").write_text(f'#!/bin/sh\nexec {sys.executable} -m dvlt_ros.ros.node "$@"\n')
    assert run_launch(launch, {"autostart": "true", "weights": "/nowhere"}) == 1
    out, err = capfd.readouterr()
    assert "cannot configure: /nowhere: no such directory or file" in out + err
    assert "configuring the node failed; its reason is above" in out + err
