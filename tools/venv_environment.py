"""Runs at the start of the virtual environment's Python (by a .pth file) and makes ROS work there without any export.

The ament index and the dynamic loader learn of the environment and of the overlay in it. The loader reads its path
only at a process's start, so Python is executed anew once: by the ROS wheels' own start-up hook, or here where there
are no wheels. The overlay comes last on Python's path: a real package that appears later wins by itself.
"""

import os
import sys
from pathlib import Path

PREFIX = Path(sys.prefix)
OVERLAY = PREFIX / "overlay"
WHEELS_HOOK = "ros_wheels_bootstrapper"
WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def prepend(variable: str, path: Path) -> bool:
    """Put `path` in front of a search path variable; True if it was not there yet."""
    parts = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    if str(path) in parts:
        return False
    os.environ[variable] = os.pathsep.join([str(path), *parts])
    return True


def add(variable: str, path: Path) -> bool:
    """Put `path` into a search path, behind the workspaces that are sourced and before other virtual environments."""
    parts = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    if str(path) in parts:
        return False
    places = [place for place, part in enumerate(parts) if is_in_environment(Path(part))]
    parts.insert(min(places, default=len(parts)), str(path))
    os.environ[variable] = os.pathsep.join(parts)
    return True


def is_in_environment(path: Path) -> bool:
    return any((folder / "pyvenv.cfg").is_file() for folder in (path, path.parent))  # its overlay lies in it


def main() -> None:
    site_packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    has_wheels = (PREFIX / site_packages / WHEELS_HOOK).is_dir()

    entered = has_wheels and add("AMENT_PREFIX_PATH", PREFIX)
    if (OVERLAY / "share").is_dir():
        add("AMENT_PREFIX_PATH", OVERLAY)
        entered = prepend("LD_LIBRARY_PATH", OVERLAY / "lib") or entered
    if (OVERLAY / site_packages).is_dir():
        sys.path.append(str(OVERLAY / site_packages))

    if entered and has_wheels:
        os.environ.pop(WHEELS_GUARD, None)  # set by another environment's Python that started us
    elif entered:
        os.execve(sys.executable, sys.orig_argv, os.environ)


main()
