"""Camera in; depth, points, poses and a map out.

    ros2 launch dvlt_ros reconstruct.launch.py image:=/camera/image_raw rviz:=true
    ros2 launch dvlt_ros reconstruct.launch.py image:=/camera/image_raw odom:=/odom odom_source:=topic
    ros2 launch dvlt_ros reconstruct.launch.py image:=/camera/image_raw depth_source:=cloud sparse_depth:=/lidar/points
    ros2 launch dvlt_ros reconstruct.launch.py bag:=recording.mcap rviz:=true

Starts the lifecycle node `dvlt`, configures and activates it. An argument that is not given leaves its parameter to
`params_file`, and what that does not set to the node.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.events import matches_action
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch.utilities.type_utils import coerce_to_type
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

PACKAGE = "dvlt_ros"
CONFIG = Path(__file__).absolute().parents[1] / "config"  # beside this folder, here and where it is installed

ARGUMENTS = {  # name: type, default, description
    "params_file": (str, str(CONFIG / "reconstruct.yaml"), "parameters; another file replaces this one"),
    "namespace": (str, "", "of the nodes and of all relative topics"),
    "image": (str, "image", "topic of the images; with image_transport:=compressed without its /compressed"),
    "camera_info": (str, "", "topic of the camera_info (empty: camera_info beside the image topic)"),
    "odom": (str, "odom", "topic of the odometry, for odom_source:=topic"),
    "sparse_depth": (str, "", "topic for depth_source (empty: sparse_depth/image, sparse_depth/points or scan)"),
    "imu": (str, "imu", "topic of the IMU, for gravity_source:=imu"),
    "bag": (str, "", "a bag (MCAP or db3), a video or a folder of images to play as the camera"),
    "bag_speed": (float, "1", "factor on the rate of the bag; 0: as fast as it goes"),
    "autostart": (bool, "true", "configure and activate the node; false: that is left to `ros2 lifecycle set`"),
    "rviz": (bool, "false", "open RViz, of the package rviz2"),
}
# The other arguments are parameters of the node under a short name, and tools/document_parameters.py has written what
# they are.
TYPES = {"str": str, "float": float, "int": int, "bool": bool}
PARAMETERS = {  # argument: type, parameter, description
    about["launch_argument"]: (TYPES[about["type"]], name, about["description"])
    for name, about in json.loads((CONFIG / "parameters.json").read_text()).items()
    if about["launch_argument"]
} | {"use_sim_time": (bool, "use_sim_time", "the time is that of /clock")}
MAP_FRAME = "map"  # in config/reconstruct.rviz
PATIENCE_S = 3600.0  # of the player: the node may be activated by hand
# What chooses Fast DDS's transport. The second is Fast DDS 2's name of the first (with both set, 3 complains).
PROFILES, PROFILES_OF_JAZZY = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
BUILTIN_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=default, description=text)
              for name, (_, default, text) in ARGUMENTS.items()),
            *(DeclareLaunchArgument(name, default_value="", description=described(text, parameter))
              for name, (_, parameter, text) in PARAMETERS.items()),
            OpaqueFunction(function=start),
        ]
    )  # fmt: skip


def described(text: str, parameter: str) -> str:
    return f"{text} (parameter {parameter}; empty: as in params_file)"


def start(context: LaunchContext) -> list[Action]:
    """The nodes, now that the arguments have values."""
    values = {name: argument(context, name, kind) for name, (kind, *_) in ARGUMENTS.items()}
    given = {
        parameter: argument(context, name, kind)
        for name, (kind, parameter, _) in PARAMETERS.items()
        if text_of(context, name)
    }
    params_file = Path(values["params_file"]).expanduser()
    if not params_file.is_file():  # launch_ros would go on without it
        raise FileNotFoundError(f"params_file: {params_file} is not a file")
    common: dict[str, Any] = {
        "package": PACKAGE,
        "namespace": values["namespace"],
        "remappings": [
            ("image", values["image"]),
            ("camera_info", values["camera_info"] or beside(values["image"])),
            ("odom", values["odom"]),
            ("imu", values["imu"]),
            *measured_depth(values["sparse_depth"]),
        ],
        "output": "screen",
        "emulate_tty": True,
    }
    if values["bag"]:
        if given.get("use_sim_time"):
            raise ValueError("use_sim_time: not with bag, whose images are stamped with the time of their playing")
        # Both ends are started here: what the file says for a real camera must not come between them.
        given = {"input.transport": "raw"} | given | {"use_sim_time": False}
        common["additional_env"] = transport()
    return [
        *([viewer(params_file, given, common)] if values["rviz"] else []),
        *([player(params_file, values, given, common)] if values["bag"] else []),
        *reconstruction(params_file, values, given, common),
    ]


def text_of(context: LaunchContext, name: str) -> str:
    return LaunchConfiguration(name).perform(context)


def argument(context: LaunchContext, name: str, kind: type) -> Any:
    try:
        return coerce_to_type(text_of(context, name), kind)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def beside(image_topic: str) -> str:
    """Where drivers publish camera_info."""
    return "".join(image_topic.rpartition("/")[:2]) + "camera_info"


def measured_depth(topic: str) -> list[tuple[str, str]]:
    """Remappings to the one topic that depth_source makes the node subscribe to."""
    names = ("sparse_depth/image", "sparse_depth/points", "scan")
    return [*((name, topic) for name in names), ("sparse_depth/camera_info", beside(topic))] if topic else []


def transport() -> dict[str, str]:
    """Fast DDS with room for images and clouds, unless the user has chosen otherwise."""
    if any(os.environ.get(name) for name in (PROFILES, PROFILES_OF_JAZZY, BUILTIN_TRANSPORTS)):
        return {}
    name = PROFILES_OF_JAZZY if os.environ.get("ROS_DISTRO") == "jazzy" else PROFILES
    return {name: str(CONFIG / "fastdds.xml")}


def player(params_file: Path, values: dict[str, Any], given: dict[str, Any], common: dict[str, Any]) -> Node:
    camera = {
        "source": values["bag"],
        "speed": values["bag_speed"],
        "compressed": given["input.transport"] == "compressed",
        "wait_for_subscriber_s": PATIENCE_S,
        "use_sim_time": False,
    }
    return Node(
        executable="dvlt_play_camera",
        name="camera",
        parameters=[str(params_file), camera],
        on_exit=OpaqueFunction(function=ended, kwargs={"is_needed": False}),
        **common,
    )


def reconstruction(
    params_file: Path, values: dict[str, Any], given: dict[str, Any], common: dict[str, Any]
) -> list[Action]:
    node = LifecycleNode(
        executable="dvlt_reconstruct",
        name="dvlt",
        parameters=[str(params_file), given],
        on_exit=OpaqueFunction(function=ended, kwargs={"is_needed": True}),
        **common,
    )
    if not values["autostart"]:
        return [node]
    activate = transition(node, Transition.TRANSITION_ACTIVATE, "activating", "active", then=[])
    configure = transition(node, Transition.TRANSITION_CONFIGURE, "configuring", "inactive", then=activate)
    return [node, *configure]


def transition(node: LifecycleNode, number: int, during: str, after: str, then: list[Action]) -> list[Action]:
    """Asks for a change of state; goes on with ``then`` if it succeeds, ends the launch if not."""

    def finished(context: LaunchContext) -> list[Action]:
        if context.locals.event.goal_state != after:
            raise RuntimeError(f"{during} the node failed; its reason is above")
        return then

    handler = OnStateTransition(
        target_lifecycle_node=node, start_state=during, entities=[OpaqueFunction(function=finished)], handle_once=True
    )
    request = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=number)
    return [RegisterEventHandler(handler), EmitEvent(event=request)]


def viewer(params_file: Path, given: dict[str, Any], common: dict[str, Any]) -> Node:
    """RViz in the node's namespace, to which the relative topics of its configuration belong."""
    fixed_frame = given.get("frames.prefix", "") + given.get("frames.map", MAP_FRAME)
    return Node(
        executable="rviz2",
        arguments=["-d", str(CONFIG / "reconstruct.rviz"), "-f", fixed_frame],
        parameters=[str(params_file), {name: given[name] for name in given.keys() & {"use_sim_time"}}],
        **common | {"package": "rviz2"},
    )


def ended(context: LaunchContext, is_needed: bool) -> list[Action]:
    """A process that fails ends the launch, with an exit status that says so; one that is needed ends it anyhow."""
    event = context.locals.event
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError(f"{event.process_name} ended with {event.returncode}; its reason is above")
    return [Shutdown(reason=f"{event.process_name} has ended")] if is_needed else []
