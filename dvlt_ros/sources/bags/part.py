"""What the files of a bag have in common, whatever their format."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import DataError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_MESSAGE_BYTES = 1 << 30  # unpacked
INSTALL = "pip install 'rosbags>=0.11,<0.12'"


@dataclass(frozen=True)
class Channel:
    """A topic of one file."""

    topic: str
    type: str  # such as sensor_msgs/msg/Image
    definition: str  # empty: not told
    definition_format: str  # ros2msg, ros2idl


class BagPart(Protocol):
    """One file of a bag."""

    path: Path
    problem: str  # what is wrong with it although it is read; empty: nothing

    @property
    def channels(self) -> list[Channel]: ...

    @property
    def counts(self) -> Counter[str]:
        """Messages by topic."""
        ...

    def messages(self, topics: set[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, time of recording in ns, serialised message). Raises DataError: damage, after what can be read."""
        ...

    def close(self) -> None: ...


def zstd() -> Any:
    """Zstandard of the standard library (Python 3.14), or the package that rosbags brings for older ones.

    Raises:
        ImportError: there is none.
    """
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(f"compressed bags need backports.zstd: {INSTALL}")


def unpacked(data: bytes, compression: str, max_bytes: int) -> tuple[bytes, bool]:
    """As much as can be unpacked, and whether that is all.

    Raises:
        DataError: a compression that is not known, or more than ``max_bytes``.
    """
    if compression in ("", "none"):
        return data, True
    if compression == "zstd":
        decompressor = zstd().ZstdDecompressor()
    elif compression == "lz4":
        decompressor = importlib.import_module("lz4.frame").LZ4FrameDecompressor()
    else:
        raise DataError(f"compression {compression!r} is not known; lz4 and zstd are")
    found = decompressor.decompress(data, max_bytes)
    if len(found) >= max_bytes:
        raise DataError(f"it unpacks to more than {max_bytes} bytes")
    return found, bool(decompressor.eof)


def message_of(data: bytes) -> bytes:
    """A serialised message, unpacked if each message was packed by itself: CDR begins with a zero byte.

    Raises:
        DataError: a damaged one.
    """
    if not data.startswith(ZSTD_MAGIC):
        return data
    try:
        found, is_whole = unpacked(data, "zstd", MAX_MESSAGE_BYTES)
    except DataError:
        raise
    except Exception as error:  # of the decompressor
        raise DataError(f"a compressed message does not unpack: {error}") from error
    if not is_whole:
        raise DataError("a compressed message is only there in part")
    return found
