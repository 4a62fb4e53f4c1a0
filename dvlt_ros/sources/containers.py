"""What a file is, by its first bytes; its name says what somebody thought."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ..imaging.headers import image_kind
from .border import border

Kind = Literal["mcap", "db3", "zstd", "ROS 1 bag", "image", "video", "playlist", "archive", "LFS", "empty", "unknown"]

HEAD_BYTES = 512
IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm",
    ".heic", ".heif", ".avif",
}  # fmt: skip
MAGIC: dict[bytes, Kind] = {
    b"\x89MCAP0\r\n": "mcap",
    b"SQLite format 3\0": "db3",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"#ROSBAG V": "ROS 1 bag",
    b"#EXTM3U": "playlist",
    b"ffconcat version": "playlist",
    b"[playlist]": "playlist",
    b"<?xml": "playlist",
    b"PK\x03\x04": "archive",
    b"\x1f\x8b": "archive",
    b"BZh": "archive",
    b"\xfd7zXZ\0": "archive",
    b"7z\xbc\xaf\x27\x1c": "archive",
    b"Rar!\x1a\x07": "archive",
    b"\x04\x22\x4d\x18": "archive",  # lz4
    b"version https://git-lfs": "LFS",
}
UNREAD: dict[Kind, str] = {  # what is in the place of a bag or a video, and what to do about it
    "ROS 1 bag": "a bag of ROS 1; `rosbags-convert` makes one of ROS 2 from it",
    "archive": "an archive: unpack it first",
    "LFS": "a pointer of Git LFS, not the file itself: `git lfs pull` brings it",
}
VIDEO_MAGIC = {
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"\x00\x00\x01\xba": "MPEG program stream",
    b"\x00\x00\x01\xb3": "MPEG video",
    b"FLV\x01": "FLV",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF or WMV",
    b"OggS": "Ogg",
    b"YUV4MPEG2": "YUV4MPEG",
    b"\x00\x00\x00\x01\x67": "H.264",
    b"\x00\x00\x01\x67": "H.264",
    b"\x00\x00\x00\x01\x40": "H.265",
    b"GIF8": "GIF",
}
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
VIDEOS = ("MP4 or QuickTime", "AVI", "MPEG transport stream", *dict.fromkeys(VIDEO_MAGIC.values()))


def natural_order(path: Path) -> tuple[list[tuple[bool, int | str]], str]:
    """2.jpg before 10.jpg before a.jpg. Digits of other scripts are letters."""
    parts = re.split(r"([0-9]+)", path.name)
    counted = [(index % 2 == 0, int(part) if index % 2 else part) for index, part in enumerate(parts) if part]
    return counted, path.name


def read_head(path: Path) -> bytes:
    """The first bytes of a file. Raises DataError: it cannot be read."""
    with border(path, "cannot be read"), path.open("rb") as file:
        return file.read(HEAD_BYTES)


def kind_of(head: bytes) -> Kind:
    """What a file is that begins so."""
    if not head:
        return "empty"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "archive"
    if image_kind(head) is not None:
        return "image"
    return "unknown" if video_container(head) is None else "video"


def video_container(head: bytes) -> str | None:
    """One of `VIDEOS`; None: none of them."""
    for magic, name in VIDEO_MAGIC.items():
        if head.startswith(magic):
            return name
    if head[4:8] in BOXES:
        return "MP4 or QuickTime"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "AVI"
    if head[:1] == b"\x47" == head[188:189] or head[4:5] == b"\x47" == head[196:197]:
        return "MPEG transport stream"
    return None
