"""What the server takes from a browser, whatever the browser says it has checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...errors import DataError
from ...sources.containers import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
BAG_SUFFIXES = (".mcap", ".db3", ".zstd")
SUFFIXES = (*sorted(IMAGE_SUFFIXES), *VIDEO_SUFFIXES, *BAG_SUFFIXES)
TAKEN = "JPEG, PNG or HEIC photos, a video, or a bag"  # and what else is among the suffixes
MAX_BYTES = 2 * 2**30  # of one upload, together
MAX_BYTES_IN_ALL = 8 * 2**30  # of all visitors
MAX_FILES = 500
MAX_VISITORS = 16


def check_upload(names: Iterable[str], sizes: Iterable[int], held_by_others: int = 0) -> None:
    """Raises DataError: files of other kinds, too many, or too large, by name."""
    files = list(zip(names, sizes, strict=True))
    if len(files) > MAX_FILES:
        raise DataError(f"{len(files)} files are too many: at most {MAX_FILES} at a time")
    for name, _ in files:
        if Path(name).suffix.lower() not in SUFFIXES:
            raise DataError(f"{name}: not taken; photos, a video or a bag are ({' '.join(SUFFIXES)})")
    total = sum(size for _, size in files)
    if total > MAX_BYTES:
        raise DataError(f"{total / 2**30:.1f} GiB are too much: at most {MAX_BYTES / 2**30:.0f} GiB at a time")
    if total + held_by_others > MAX_BYTES_IN_ALL:
        raise DataError("there is no room for this beside what others have sent: please try again later")
