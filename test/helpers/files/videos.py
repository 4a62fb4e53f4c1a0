"""Small videos, and what phones do to them: frames at uneven times, pictures turned by a flag."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
RATE_HZ = 25


def write_video(path: Path, frames: Sequence[np.ndarray], codec: str = "mp4v", rate_hz: float = RATE_HZ) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate_hz, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def retimed(path: Path, times_ms: Sequence[int]) -> Path:
    """An MP4 of so many frames, shown at these times: its table of durations is written anew."""
    data = bytearray(path.read_bytes())
    place = data.find(b"edts")
    data[place : place + 4] = b"free"  # the edit list would cut at the old length
    scale = struct.unpack_from(">I", data, data.find(b"mdhd") + 16)[0]
    steps = np.diff([*times_ms, times_ms[-1] + 40]) * scale // 1000
    table = struct.pack(">II", 0, len(steps)) + b"".join(struct.pack(">II", 1, int(step)) for step in steps)
    start = data.find(b"stts") - 4
    old = struct.unpack_from(">I", data, start)[0]
    grown = 8 + len(table) - old
    data[start : start + old] = struct.pack(">I4s", 8 + len(table), b"stts") + table
    for name in CONTAINERS:
        box = data.find(name) - 4
        struct.pack_into(">I", data, box, struct.unpack_from(">I", data, box)[0] + grown)
    path.write_bytes(data)
    return path


def turned(path: Path, quarters: int) -> Path:
    """An MP4 whose header says that players shall turn it clockwise."""
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 4 + 40
    matrix = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, place, *matrix)
    path.write_bytes(data)
    return path
