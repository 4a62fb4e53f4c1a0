"""Finds out what a path is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from ..lens import Lens
from .bag import BagSource
from .folder import SUFFIXES, FolderSource, check_size
from .images import Refusals, Source, SourceImage
from .video import VideoSource

BAG_SUFFIXES = {".mcap", ".db3"}
FRAME_ID = "camera_optical_frame"
Intrinsics = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels


def open_source(
    path: str | Path, *, topic: str | None = None, rate_hz: float = 10.0, frame_id: str = FRAME_ID,
    intrinsics: Intrinsics | None = None,
) -> Source:  # fmt: skip
    """A bag (folder or file), a folder of images, or a video.

    Args:
        topic: image topic of a bag that has several.
        rate_hz: of images that do not tell their time.
        frame_id: of images that do not tell theirs.
        intrinsics: of a lens without distortion, instead of what is recorded; as in camera_info, with pixel centres
            at integers.

    Raises:
        DataError: nothing there, or nothing that can be read; it names the path and the cause.
    """
    path = Path(path).expanduser()
    if not rate_hz > 0:
        raise DataError(f"rate_hz must be above 0, got {rate_hz}")
    source = _open(path, topic, rate_hz, frame_id, read_lens=intrinsics is None)
    first = next(iter(source), None)
    if first is None:
        raise DataError(f"{path}: none of {len(source)} images can be used; {source.refusals.first}")
    return source if intrinsics is None else _Calibrated(source, intrinsics, first)


def is_bag(path: Path) -> bool:
    """A folder or a file that should be one."""
    if not path.is_dir():
        return path.suffix.lower() in BAG_SUFFIXES
    return (path / "metadata.yaml").is_file() or any(any(path.glob(f"*{end}")) for end in BAG_SUFFIXES)


def _open(path: Path, topic: str | None, rate_hz: float, frame_id: str, read_lens: bool) -> Source:
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if is_bag(path):
        return BagSource(path, topic, frame_id)
    if path.is_dir():
        return FolderSource(path, rate_hz, frame_id, read_lens)
    if suffix == ".bag":
        raise DataError(f"{path}: a bag of ROS 1; `rosbags-convert` makes one of ROS 2 from it")
    if suffix in SUFFIXES:
        raise DataError(f"{path}: a single image; a folder of images is a source")
    return VideoSource(path, rate_hz, frame_id)


class _Calibrated:
    """A source with given intrinsics, for images of the first one's size."""

    def __init__(self, source: Source, intrinsics: Intrinsics, first: SourceImage) -> None:
        fx, fy, cx, cy = intrinsics
        height, width = first.image.shape[:2]
        self._source, self.camera_problem, self.refusals = source, "", Refusals()
        self._lens = Lens(fx, fy, cx + 0.5, cy + 0.5, (height, width), source="the given intrinsics")

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[SourceImage]:
        self.refusals = self._source.refusals
        for image in self._source:
            try:
                check_size(self._lens, image.image)
            except DataError as error:
                self.refusals.add(f"image at {image.stamp_ns} ns: {error}")
                continue
            yield replace(image, lens=self._lens)
