"""RTAB-Map's graph on this node's depth and odometry.

    ros2 launch dvlt_ros rtabmap.launch.py image:=/camera/image_raw odom_source:=topic odom:=/wheel/odometry

All arguments of reconstruct.launch.py apply. Needs the package rtabmap_ros. The node finds depth and motion; RTAB-Map
recognizes places, keeps the graph and publishes `map` -> `visual_odom`.
"""

from __future__ import annotations

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).absolute().parents[1]  # what holds this folder, here and where it is installed


def generate_launch_description() -> LaunchDescription:
    namespace = LaunchConfiguration("namespace")
    parameters = LaunchConfiguration("rtabmap_params_file")
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="of the nodes and of all relative topics"),
            DeclareLaunchArgument(
                "rtabmap_params_file", default_value=str(SHARE / "config" / "rtabmap.yaml"),
                description="parameters of rgbd_sync and rtabmap",
            ),
            DeclareLaunchArgument(
                "rtabmap_args", default_value="", description="for rtabmap, for example --delete_db_on_start"
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "reconstruct.launch.py")),
                launch_arguments={"tf_mode": "odom_to_camera"}.items(),
            ),
            Node(
                package="rtabmap_sync", executable="rgbd_sync", namespace=namespace, output="screen",
                parameters=[parameters],
                remappings=[
                    ("rgb/image", "rgb/image_rect"),
                    ("depth/image", "depth/image"),
                    ("rgb/camera_info", "depth/camera_info"),
                ],
            ),
            Node(
                package="rtabmap_slam", executable="rtabmap", namespace=namespace, output="screen",
                parameters=[parameters], arguments=[LaunchConfiguration("rtabmap_args")],
                remappings=[("odom", "odometry")],
            ),
        ]
    )  # fmt: skip
