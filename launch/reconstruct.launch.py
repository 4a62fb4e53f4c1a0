"""Camera in; depth, points, poses and a map out.

    ros2 launch dvlt_ros reconstruct.launch.py image:=/camera/image_raw rviz:=true
    ros2 launch dvlt_ros reconstruct.launch.py bag:=recording.mcap rviz:=true

Starts the lifecycle node `dvlt`, configures and activates it. An argument that is not given leaves its parameter to
`params_file`, and what that does not set to the node.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, GroupAction, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch.utilities.type_utils import coerce_to_type
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

PACKAGE = "dvlt_ros"
CONFIG = Path(get_package_share_directory(PACKAGE), "config")

ARGUMENTS = {  # name: default, description
    "params_file": (str(CONFIG / "reconstruct.yaml"), "parameters; another file replaces this one"),
    "namespace": ("", "of the nodes and of all relative topics"),
    "image": ("image", "topic of the images; with image_transport:=compressed without its /compressed"),
    "camera_info": ("", "topic of the camera_info; empty: camera_info beside the image topic"),
    "bag": ("", "a bag (MCAP or db3), a video or a folder of images to play as the camera"),
    "bag_speed": ("", "factor on the rate of the bag; 0: as fast as it goes; empty: 1"),
    "autostart": ("true", "configure and activate the node; false: that is left to `ros2 lifecycle set`"),
    "rviz": ("false", "open RViz"),
}
PARAMETERS = {  # of the node; name: type, description
    "weights": (str, "checkpoint: a directory, a .safetensors file or a Hugging Face id"),
    "device": (str, "auto, cpu, cuda, cuda:1, ..."),
    "latency_budget_ms": (float, "from an image's arrival to its publication; 0: always the best quality"),
    "image_transport": (str, "raw or compressed"),
    "map_frame": (str, "frame of the map"),
    "camera_frame": (str, "optical frame of images that come without a frame_id"),
    "frame_prefix": (str, "put before all frames, for several robots in one TF tree"),
    "publish_unscaled": (bool, "publish depth, points, poses and TF although they are NOT in metres"),
    "use_sim_time": (bool, "the time is that of /clock"),
}
MAP_FRAME = "map"  # as in config/reconstruct.rviz and by default in the node
# The second is Fast DDS 2's name of the first; with both set, Fast DDS 3 reads the file twice and complains.
TRANSPORT_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
PATIENCE_S = 3600.0  # of the player: the node may be activated by hand


def generate_launch_description() -> LaunchDescription:
    as_in_file = {name: ("", f"{text} (empty: as in params_file)") for name, (_, text) in PARAMETERS.items()}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in (ARGUMENTS | as_in_file).items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """The nodes, now that the arguments have values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in [*ARGUMENTS, *PARAMETERS]}
    params_file = Path(values["params_file"]).expanduser()
    if not params_file.is_file():  # launch_ros would go on without it
        raise FileNotFoundError(f"params_file: {params_file} is not a file")
    given = {name: parameter(name, values[name], kind) for name, (kind, _) in PARAMETERS.items() if values[name]}
    beside_image = "".join(values["image"].rpartition("/")[:2])
    common: dict[str, Any] = {
        "namespace": values["namespace"],
        "remappings": [
            ("image", values["image"]),
            ("camera_info", values["camera_info"] or beside_image + "camera_info"),
        ],
        "output": "screen",
        "emulate_tty": True,
    }
    actions = []
    if values["bag"]:
        if "use_sim_time" in given:
            raise ValueError("use_sim_time: not with bag, whose images are stamped with the time of their playing")
        given = {"image_transport": parameter("", "raw", str)} | given | {"use_sim_time": False}
        common["additional_env"] = transport()  # only here, where both sides of it are started
        camera = {
            "source": parameter("bag", values["bag"], str),
            "compressed": values["image_transport"] == "compressed",
            "wait_for_subscriber_s": PATIENCE_S,
            "use_sim_time": False,
        }
        if values["bag_speed"]:
            camera["speed"] = parameter("bag_speed", values["bag_speed"], float)
        actions.append(player([str(params_file), camera], common))
    frame = values["frame_prefix"] + (values["map_frame"] or MAP_FRAME)
    actions.append(viewer(frame, given, values["rviz"], common))
    return [*actions, *reconstruction([str(params_file), given], values["autostart"], common)]


def parameter(name: str, text: str, kind: type) -> ParameterValue:
    """With its type kept: launch_ros would make a number of weights:=12."""
    try:
        return ParameterValue(coerce_to_type(text, kind), value_type=kind)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def transport() -> dict[str, str]:
    """Fast DDS with room for images and clouds, unless the user has chosen otherwise."""
    if any(os.environ.get(name) for name in TRANSPORT_VARIABLES):
        return {}
    variable = TRANSPORT_VARIABLES[os.environ.get("ROS_DISTRO") == "jazzy"]
    return {variable: str(CONFIG / "fastdds.xml")}


def reconstruction(parameters: list[Any], autostart: str, common: dict[str, Any]) -> list[Action]:
    node = LifecycleNode(
        package=PACKAGE,
        executable="reconstruct",
        name="dvlt",
        parameters=parameters,
        on_exit=OpaqueFunction(function=ended, kwargs={"is_needed": True}),
        **common,
    )
    activate = transition(node, Transition.TRANSITION_ACTIVATE, "activating", "active", then=[])
    configure = transition(node, Transition.TRANSITION_CONFIGURE, "configuring", "inactive", then=activate)
    return [node, GroupAction(configure, condition=IfCondition(autostart), scoped=False)]


def transition(node: LifecycleNode, number: int, during: str, after: str, then: list[Action]) -> list[Action]:
    """Asks for a change of state; goes on with ``then`` if it succeeds, ends the launch if not."""

    def finished(context: LaunchContext) -> list[Action]:
        if context.locals.event.goal_state != after:
            raise RuntimeError(f"{during} the node failed; its reason is above")
        return then

    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state=during,
                entities=[OpaqueFunction(function=finished)],
                handle_once=True,
            )
        ),
        EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=number)),
    ]


def player(parameters: list[Any], common: dict[str, Any]) -> Node:
    return Node(
        package=PACKAGE,
        executable="play_camera",
        name="camera",
        parameters=parameters,
        on_exit=OpaqueFunction(function=ended, kwargs={"is_needed": False}),
        **common,
    )


def viewer(frame: str, given: dict[str, Any], rviz: str, common: dict[str, Any]) -> Node:
    """RViz in the node's namespace, to which the relative topics of its configuration belong."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(CONFIG / "reconstruct.rviz"), "-f", frame],
        parameters=[{name: value for name, value in given.items() if name == "use_sim_time"}],
        condition=IfCondition(rviz),
        **common,
    )


def ended(context: LaunchContext, is_needed: bool) -> list[Action]:
    """A process that fails ends the launch, with an exit status that says so; one that is needed ends it anyhow."""
    event = context.locals.event
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError(f"{event.process_name} ended with {event.returncode}; its reason is above")
    return [Shutdown(reason=f"{event.process_name} has ended")] if is_needed else []
