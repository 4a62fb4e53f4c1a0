"""A video file, through OpenCV's FFmpeg: at the times that the file gives its frames, and upright as it says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from ..imaging.headers import check_claimed_size
from .containers import read_head, video_container
from .images import Refusals, SourceImage

MAX_RATE_HZ = 1000.0  # beyond, the file's field is not a rate
MIN_FRAME_BYTES = 16  # of the most compressed frame: more frames than that claim more than the file can hold
COUNTING = ("MP4 or QuickTime", "AVI")  # others tell a length in time, if anything
# FFmpeg would follow names in play lists to other files and hosts.
FFMPEG_OPTIONS = (
    "protocol_whitelist;file|format_whitelist;"
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,yuv4mpegpipe,h264,hevc,gif"
)


class VideoSource:
    """Frames at the file's own times, the first at 0; those without one follow at its rate, or at ``rate_hz``."""

    has_times = True

    def __init__(self, path: Path, rate_hz: float, frame_id: str) -> None:
        """Raises DataError for a file that is not a video, or that OpenCV cannot read as one."""
        self.refusals, self.camera_problem = Refusals(), ""
        self.remarks: list[str] = []
        self._path, self._frame_id = path, frame_id
        container = video_container(read_head(path))
        if container is None:
            raise DataError(f"{path}: not a readable video: its content is none")
        capture = self._open()
        try:
            told_hz = capture.get(cv2.CAP_PROP_FPS)
            self._rate_hz = told_hz if 0 < told_hz <= MAX_RATE_HZ else rate_hz
            claimed = _whole(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            self._claimed = claimed if container in COUNTING else 0
            self._count = claimed
            if not 1 <= claimed <= path.stat().st_size // MIN_FRAME_BYTES:
                self._count = self._counted(capture)
        finally:
            capture.release()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SourceImage]:
        """A truncated file gives the frames that are there; the others are refused at the end."""
        self.refusals.clear()
        count, stamp_ns, first_ms = 0, 0, 0.0
        for count, (image, at_ms) in enumerate(self._frames(), start=1):
            if count == 1:
                first_ms = at_ms
            else:
                elapsed_ms = at_ms - first_ms
                told_ns = round(elapsed_ms * 1e6) if np.isfinite(elapsed_ms) else 0
                stamp_ns = told_ns if told_ns > stamp_ns else stamp_ns + round(1e9 / self._rate_hz)
            yield SourceImage(stamp_ns, self._frame_id, image, None)
        if (missing := self._claimed - count) > 0:
            reason = f"frame {count} of {self._claimed} cannot be read: {missing} that the file announces are missing"
            self.refusals.add(reason, missing, name=str(self._path))

    def _frames(self) -> Iterator[tuple[np.ndarray, float]]:
        """(RGB, milliseconds)."""
        capture = self._open()
        try:
            while True:
                try:
                    found, frame = capture.read()
                    at_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                except cv2.error as error:
                    raise DataError(f"{self._path}: damaged video: {error.err}") from error
                if not found:
                    return
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), at_ms
        finally:
            capture.release()

    @staticmethod
    def _counted(capture: cv2.VideoCapture) -> int:
        count = 0
        while capture.grab():
            count += 1
        return count

    def _open(self) -> cv2.VideoCapture:
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", FFMPEG_OPTIONS)
        # An absolute path: FFmpeg takes what is before a colon for a protocol.
        with plain_name(self._path.absolute()) as path:
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise DataError(f"{self._path}: not a readable video")
        try:
            check_claimed_size(*(_whole(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)))
        except DataError as error:
            capture.release()
            raise DataError(f"{self._path}: {error}") from error
        return capture


@contextmanager
def plain_name(path: Path) -> Iterator[Path]:
    """The same file by a name that OpenCV takes: of % it makes the pattern of a sequence, and it needs UTF-8."""
    if "%" not in str(path) and is_utf8(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dvlt_video_") as folder:
        link = Path(folder) / "video"
        link.symlink_to(path)
        yield link


def is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(value: float) -> int:
    """0 where OpenCV gives no number."""
    return int(value) if np.isfinite(value) else 0
