"""Finds out what a path is."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .bag import BagSource
from .folder import FolderSource
from .images import Source
from .video import VideoSource

BAG_SUFFIXES = {".mcap", ".db3"}
FRAME_ID = "camera_optical_frame"


def open_source(
    path: str | Path, *, topic: str | None = None, rate_hz: float = 10.0, frame_id: str = FRAME_ID
) -> Source:
    """A bag (folder or file), a folder of images, or a video.

    Args:
        topic: image topic of a bag that has several.
        rate_hz: of images that do not tell their time.
        frame_id: of images that do not tell theirs.

    Raises:
        DataError: nothing there, or nothing that can be read; it names the path and the cause.
    """
    path = Path(path).expanduser()
    if not rate_hz > 0:
        raise DataError(f"rate_hz must be above 0, got {rate_hz}")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir() and not (path / "metadata.yaml").is_file() and not any(path.glob("*.mcap")):
        return FolderSource(path, rate_hz, frame_id)
    if path.is_dir() or path.suffix.lower() in BAG_SUFFIXES:
        return BagSource(path, topic, frame_id)
    return VideoSource(path, frame_id)
