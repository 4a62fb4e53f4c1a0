"""Message definitions of a bag, and messages decoded by them, through rosbags."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from ...errors import DataError
from .part import INSTALL, Channel

NEEDED = {  # the fields that are read here
    "sensor_msgs/msg/Image": {"header", "height", "width", "encoding", "is_bigendian", "step", "data"},
    "sensor_msgs/msg/CompressedImage": {"header", "format", "data"},
    "sensor_msgs/msg/CameraInfo": {
        "header", "height", "width", "distortion_model", "d", "k", "p", "binning_x", "binning_y", "roi",
    },
    "nav_msgs/msg/Odometry": {"header", "child_frame_id", "pose"},
    "tf2_msgs/msg/TFMessage": {"transforms"},
    "sensor_msgs/msg/PointCloud2": {
        "header", "height", "width", "fields", "is_bigendian", "point_step", "row_step", "data",
    },
    "sensor_msgs/msg/LaserScan": {"header", "angle_min", "angle_increment", "range_min", "range_max", "ranges"},
    "sensor_msgs/msg/Imu": {
        "header", "orientation", "orientation_covariance", "angular_velocity", "angular_velocity_covariance",
        "linear_acceleration", "linear_acceleration_covariance",
    },
}  # fmt: skip
SEPARATOR = "=" * 80 + "\n"  # between the parts of an IDL definition


class MessageTypes:
    """The definitions that a bag brings, and the usual ones for those that it does not."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        """Raises ImportError: rosbags is not installed."""
        told = {(c.type, c.definition, c.definition_format) for c in channels if c.definition.strip()}
        try:
            self._usual = usual_types()
            self._own, self._problems = own_types(tuple(sorted(told)))
        except ImportError as error:
            raise ImportError(f"reading bags needs rosbags: {INSTALL}") from error

    def decode(self, data: bytes, name: str) -> Any:
        """Raises DataError: a type that is not known, or that has other fields. rosbags raises more."""
        store = self._own if self._own is not None and name in self._own.types else self._usual
        if name not in store.types:
            raise DataError(f"{name} is not known: {self._problems.get(name, 'no definition in the bag')}")
        fields = {field for field, _ in store.fielddefs[name][1]}
        if missing := NEEDED.get(name, set()) - fields:
            raise DataError(f"{name} of this bag has other fields: no {', '.join(sorted(missing))}")
        return store.deserialize_cdr(data, name)


@functools.cache
def usual_types() -> Any:
    """rosbags' store of ROS 2's own types."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE)


@functools.lru_cache(maxsize=8)
def own_types(told: tuple[tuple[str, str, str], ...]) -> tuple[Any | None, dict[str, str]]:
    """A store of a bag's definitions (type, text, format), None if there are none, and what is wrong with others.

    Kept for the next time: a bag is opened several times, and making a store takes its time.
    """
    from rosbags.typesys import Stores, get_typestore

    definitions: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, text, form in told:
        try:
            definitions |= _parsed(name, text, form)
        except Exception as error:  # of rosbags' parsers; the usual definition holds, if there is one
            problems[name] = f"its definition in the bag is damaged: {error}"
    if not definitions:
        return None, problems
    try:
        store = get_typestore(Stores.EMPTY)
        store.register(definitions)
    except Exception as error:  # types that refer to others that are nowhere
        return None, {name: f"definitions in the bag are damaged: {error}" for name, _, _ in told}
    return store, problems


def _parsed(name: str, text: str, form: str) -> dict[str, Any]:
    """Definitions by type, those that it needs included."""
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if form != "ros2idl":
        return dict(get_types_from_msg(text, name))
    if not text.startswith(f"{SEPARATOR}IDL: "):
        return dict(get_types_from_idl(text))
    found: dict[str, Any] = {}
    for part in text.split(SEPARATOR)[1:]:
        found |= get_types_from_idl(part.split("\n", 1)[1])
    return found
