"""A video file, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from ..errors import DataError
from .images import Refusals, SourceImage


class VideoSource:
    """Frames at the file's own rate."""

    def __init__(self, path: Path, frame_id: str) -> None:
        """Raises DataError for a file that OpenCV cannot read as a video."""
        self.refusals = Refusals()
        self._path, self._frame_id = path, frame_id
        capture = self._open()
        self._rate_hz = capture.get(cv2.CAP_PROP_FPS)
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if not self._rate_hz > 0 or self._count < 1:
            raise DataError(f"{path}: a video without frames or frame rate ({self._count} at {self._rate_hz} Hz)")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SourceImage]:
        capture = self._open()
        index = 0
        while (found := capture.read())[0]:
            index += 1
            stamp_ns = round(index * 1e9 / self._rate_hz)
            yield SourceImage(stamp_ns, self._frame_id, cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB), None)
        capture.release()
        for missing in range(index, self._count):
            self.refusals.add(f"{self._path}: frame {missing} of {self._count} cannot be read")

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise DataError(f"{self._path}: not a readable video")
        return capture
