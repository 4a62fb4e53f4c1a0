"""What the header of a message holds: the name of a coordinate frame, and a stamp."""

from __future__ import annotations


def frame_name(name: str) -> str:
    """As TF 2 knows it: without the leading slashes of TF 1, and without spaces around it. Empty: none is told."""
    return name.strip().lstrip("/")


def message_stamp_ns(stamp_ns: int) -> int:
    """As a message has it, where 0 is a stamp that was never set, and TF's latest: the time 0 is 1 ns later there."""
    return stamp_ns or 1
