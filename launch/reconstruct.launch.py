"""Camera in; depth, points, poses and a map out.

    ros2 launch dvlt_ros reconstruct.launch.py image:=/camera/image_raw rviz:=true
    ros2 launch dvlt_ros reconstruct.launch.py bag:=recording.mcap rviz:=true

Starts the lifecycle node `dvlt`, configures and activates it. An argument that is not given leaves its parameter to
`params_file`, and what that does not set to the node.
"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.events.matchers import matches_action
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

PACKAGE = "dvlt_ros"
CONFIG = Path(get_package_share_directory(PACKAGE), "config")

ARGUMENTS = {  # name: default, description
    "params_file": (str(CONFIG / "reconstruct.yaml"), "parameters of the node; instead of the default file, not on top"),
    "namespace": ("", "of all nodes and topics"),
    "image": ("image", "topic of the images; with image_transport:=compressed without its /compressed"),
    "camera_info": ("", "topic of the camera_info; empty: camera_info beside the image topic"),
    "bag": ("", "a bag (MCAP or db3), a video or a folder of images to play as the camera"),
    "bag_speed": ("1.0", "factor on the rate of the bag; 0: as fast as it goes"),
    "autostart": ("true", "configure and activate the node; false: leave that to `ros2 lifecycle`"),
    "rviz": ("false", "open RViz"),
}
PARAMETERS = {  # of the node, with the same name: type, description
    "weights": (str, "checkpoint: a directory, a .safetensors file or a Hugging Face id"),
    "device": (str, "auto, cpu, cuda, cuda:1, ..."),
    "latency_budget_ms": (float, "from an image's arrival to its publication; 0: always the best quality"),
    "image_transport": (str, "raw or compressed"),
    "map_frame": (str, "frame of the map"),
    "camera_frame": (str, "optical frame of images that come without one"),
    "frame_prefix": (str, "put before all frames, for several robots in one TF tree"),
    "publish_unscaled": (bool, "publish depth, points, poses and TF although they are NOT in metres"),
    "use_sim_time": (bool, "take the time from /clock"),
}
# Of Fast DDS 3 (Kilted) and 2 (Jazzy); then what else changes its transport.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
TRANSPORT_VARIABLES = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")


def generate_launch_description() -> LaunchDescription:
    arguments = ARGUMENTS | {name: ("", text) for name, (_, text) in PARAMETERS.items()}
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(n, default_value=value, description=text) for n, (value, text) in arguments.items()),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[Action]:
    """The nodes, once the values of the arguments are known."""
    values = {name: LaunchConfiguration(name).perform(context) for name in [*ARGUMENTS, *PARAMETERS]}
    params_file = Path(values["params_file"]).expanduser()
    if not params_file.is_file():  # launch_ros would go on without it
        raise FileNotFoundError(f"params_file: {params_file} does not exist")
    given = {
        name: ParameterValue(values[name], value_type=kind) for name, (kind, _) in PARAMETERS.items() if values[name]
    }
    camera_info = values["camera_info"] or str(Path(values["image"]).with_name("camera_info"))
    common = {"namespace": values["namespace"], "output": "screen", "emulate_tty": True}
    topics = [("image", values["image"]), ("camera_info", camera_info)]
    played = {}
    if values["bag"]:
        common["additional_env"] = transport()
        played = played_parameters(values)

    node = LifecycleNode(
        package=PACKAGE,
        executable="reconstruct",
        name="dvlt",
        parameters=[str(params_file), given | played],
        remappings=topics,
        on_exit=Shutdown(reason="the node has ended"),
        **common,
    )
    actions = [node]
    if values["bag"]:
        camera = {"source": values["bag"], "speed": ParameterValue(values["bag_speed"], value_type=float)}
        ...
    return actions
