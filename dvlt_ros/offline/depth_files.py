"""Depth images on disk, one per frame, named by its stamp and camera; they follow their frames' unit at the end."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..export import write_depth
from ..imaging.files import read_pixels
from .frame_log import LoggedFrame

PLACED, UNPLACED = "depth", "unscaled_depth"  # folders; in the second one are frames whose metres are not known
STAMPED = re.compile(r"\d+\.\d{9}(_\w+)?\.tiff")


class DepthFiles:
    """float32 TIFF; of a camera's frames with one stamp the last one's."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError: the folder for them cannot be made."""
        self._folder = folder
        self._written: dict[str, tuple[Path, LoggedFrame]] = {}
        self._make()

    def write(self, depth: np.ndarray, frame: LoggedFrame) -> None:
        """(H, W) float32, before anything has moved the frame."""
        path = self.path_of(frame)
        self._make(path.parent.name)
        write_depth(path, depth)
        self._written[path.name] = path, frame

    def finish(self) -> None:
        """In the units and folders in which they belong now."""
        for written, frame in self._written.values():
            path = self.path_of(frame)
            if frame.scale != 1 or path != written:
                self._make(path.parent.name)
                write_depth(path, np.float32(frame.scale) * read_depth(written))
            if path != written:
                written.unlink()
        for name in (PLACED, UNPLACED):
            with suppress(OSError):  # it is not there, or not empty
                (self._folder / name).rmdir()

    def path_of(self, frame: LoggedFrame) -> Path:
        """Where its depth image belongs now; after `finish` it is there."""
        return self._folder / (PLACED if frame.is_placed else UNPLACED) / f"{file_stem(frame)}.tiff"

    def _make(self, name: str = "") -> None:
        try:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be made: {error.strerror}") from error


def clear_depths(folder: Path) -> None:
    """Those of an earlier run, whose stamps and units may be others."""
    for path in depth_files(folder):
        path.unlink()
    for name in (PLACED, UNPLACED):
        with suppress(OSError):  # it is not there, or not empty
            (folder / name).rmdir()


def depth_files(folder: Path) -> list[Path]:
    """Depth images that lie there, not what somebody else has put beside them."""
    found = (*folder.glob(f"{PLACED}/*.tiff"), *folder.glob(f"{UNPLACED}/*.tiff"))
    return [path for path in found if STAMPED.fullmatch(path.name)]


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32. Raises InputError: it is not there any more."""
    depth = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if depth is None:
        raise InputError(f"{path}: cannot be read")
    return np.asarray(depth, np.float32)


def file_stem(frame: LoggedFrame) -> str:
    """Of a frame's files: its stamp and camera."""
    camera = f"_{frame.camera.replace('/', '_')}" if frame.camera else ""
    return f"{seconds(frame.stamp_ns)}{camera}"


def seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
