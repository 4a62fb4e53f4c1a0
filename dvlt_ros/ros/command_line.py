"""The command line of a node, apart from `--ros-args`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rclpy.utilities import remove_ros_args


def refuse_other_arguments(program: str, description: str | None, args: Sequence[str] | None) -> None:
    """Refuses all arguments but parameters and remappings; `--help` shows the description.

    ``args`` are those of `rclpy.init`: without the program's name; None: those of the process.
    """
    parser = argparse.ArgumentParser(
        program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Parameters and remappings follow --ros-args; `ros2 param describe` describes them.",
    )
    parser.parse_args(remove_ros_args([program, *(sys.argv[1:] if args is None else args)])[1:])
