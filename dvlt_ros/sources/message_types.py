"""Message definitions of a bag, and messages decoded by them, through rosbags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import DataError
from .bag_part import INSTALL, Channel

NEEDED = {  # the fields that are read here
    "sensor_msgs/msg/Image": {"header", "height", "width", "encoding", "is_bigendian", "step", "data"},
    "sensor_msgs/msg/CompressedImage": {"header", "format", "data"},
    "sensor_msgs/msg/CameraInfo": {
        "header", "height", "width", "distortion_model", "d", "k", "p", "binning_x", "binning_y", "roi",
    },
    "nav_msgs/msg/Odometry": {"header", "child_frame_id", "pose"},
    "tf2_msgs/msg/TFMessage": {"transforms"},
}  # fmt: skip
SEPARATOR = "=" * 80 + "\n"  # between the parts of an IDL definition


class MessageTypes:
    """The definitions that a bag brings, and the usual ones for those that it does not."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        """Raises ImportError: rosbags is not installed."""
        try:
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise ImportError(f"reading bags needs rosbags: {INSTALL}") from error
        usual = get_typestore(Stores.ROS2_HUMBLE)
        definitions = dict(usual.fielddefs)
        self._problems: dict[str, str] = {}  # by type
        for channel in channels:
            try:
                definitions |= _parsed(channel)
            except Exception as error:  # of rosbags' parsers; the usual definition holds, if there is one
                self._problems[channel.type] = f"its definition in the bag is damaged: {error}"
        try:
            self._store = get_typestore(Stores.EMPTY)
            self._store.register(definitions)
        except Exception as error:  # types that refer to others that are nowhere
            self._store = usual
            self._problems = {channel.type: f"definitions in the bag are damaged: {error}" for channel in channels}

    def decode(self, data: bytes, name: str) -> Any:
        """Raises DataError: a type that is not known, or that has other fields. rosbags raises more."""
        if name not in self._store.types:
            raise DataError(f"{name} is not known: {self._problems.get(name, 'no definition in the bag')}")
        fields = {field for field, _ in self._store.fielddefs[name][1]}
        if missing := NEEDED.get(name, set()) - fields:
            raise DataError(f"{name} of this bag has other fields: no {', '.join(sorted(missing))}")
        return self._store.deserialize_cdr(data, name)


def _parsed(channel: Channel) -> dict[str, Any]:
    """Definitions by type, those that it needs included."""
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if not channel.definition.strip():
        return {}
    if channel.definition_format != "ros2idl":
        return dict(get_types_from_msg(channel.definition, channel.type))
    if not channel.definition.startswith(f"{SEPARATOR}IDL: "):
        return dict(get_types_from_idl(channel.definition))
    found: dict[str, Any] = {}
    for part in channel.definition.split(SEPARATOR)[1:]:
        found |= get_types_from_idl(part.split("\n", 1)[1])
    return found
