"""A video file, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from ..errors import DataError
from .images import Refusals, SourceImage

MAX_RATE_HZ = 1000.0  # beyond, the file's field is not a rate


class VideoSource:
    """Frames at the file's own rate; at ``rate_hz`` if it does not tell one. Phones' videos are turned upright."""

    def __init__(self, path: Path, rate_hz: float, frame_id: str) -> None:
        """Raises DataError for a file that OpenCV cannot read as a video."""
        self.refusals, self.camera_problem = Refusals(), ""
        self._path, self._frame_id = path, frame_id
        capture = self._open()
        told_hz = capture.get(cv2.CAP_PROP_FPS)
        self._rate_hz = told_hz if 0 < told_hz <= MAX_RATE_HZ else rate_hz
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._count < 1:  # not told: then it is counted
            self._count = 0
            while capture.grab():
                self._count += 1
        capture.release()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SourceImage]:
        """A truncated file gives the frames that are there; the others are refused at the end."""
        self.refusals.clear()
        capture, index = self._open(), 0
        try:
            while (found := capture.read())[0]:
                index += 1
                stamp_ns = round(index * 1e9 / self._rate_hz)
                yield SourceImage(stamp_ns, self._frame_id, cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB), None)
        finally:
            capture.release()
        for missing in range(index, self._count):
            self.refusals.add(f"{self._path}: frame {missing} of {self._count} cannot be read")

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise DataError(f"{self._path}: not a readable video")
        return capture
