"""Finds out what a path is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from ..frame_names import frame_name
from ..imaging import View
from ..lens import Lens
from .bags.files import is_bag
from .bags.rig import RigSource
from .bags.source import BagSource
from .border import border
from .calibration import read_camera_info
from .containers import UNREAD, Kind, kind_of, read_head
from .folder import FolderSource
from .images import Refusals, Source, SourceImage
from .times import DEFAULT_RATE_HZ
from .video import VideoSource

__all__ = ["FRAME_ID", "Intrinsics", "is_bag", "open_rig", "open_source"]

FRAME_ID = "camera_optical_frame"
REFUSED: dict[Kind, str] = {  # and why
    **UNREAD,
    "image": "a single image; a folder of images is a source",
    "playlist": "a play list: only what is in a file itself is read",
    "unknown": "not a readable video or bag: its content is that of neither",
    "empty": "an empty file",
    "zstd": "a compressed file, and its name does not end in .mcap.zstd or .db3.zstd: `unzstd` unpacks it",
}
Intrinsics = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels


def open_source(
    path: str | Path, *, topic: str | None = None, rate_hz: float | None = None, frame_id: str = FRAME_ID,
    intrinsics: Intrinsics | None = None, camera_info: str | Path | None = None, mask_topic: str | None = None,
) -> Source:  # fmt: skip
    """A bag (folder or file), a folder of images, or a video.

    Args:
        topic: image topic of a bag that has several.
        rate_hz: of images that do not tell their times, which are a stream with it; without it, those of a folder are
            photos of one scene (``has_times`` is False), and frames of a video come at 10 Hz.
        frame_id: of images that do not tell theirs.
        intrinsics: of a lens without distortion, instead of what is recorded; as in camera_info, with pixel centres
            at integers.
        mask_topic: of a bag's masks; without it the only topic that is called ``mask/image``, in any namespace.
        camera_info: a file as ROS's camera_calibration writes it, instead of what is recorded; intrinsics win.

    Raises:
        DataError: nothing there, nothing that can be read, or a camera_info of images of another size; it names the
            path and the cause.
    """
    path = Path(path).expanduser()
    if rate_hz is not None and not rate_hz > 0:
        raise DataError(f"rate_hz must be above 0, got {rate_hz}")
    is_given = intrinsics is not None or camera_info is not None
    source = _open(path, topic, rate_hz, frame_name(frame_id), not is_given, mask_topic)
    first = next(iter(source), None)
    if first is None:
        raise DataError(f"{path}: none of {len(source)} images can be used; {source.refusals}")
    if not is_given:
        return source
    height, width = first.image.shape[:2]
    if intrinsics is None:
        assert camera_info is not None
        lens = read_camera_info(Path(camera_info).expanduser())
        if lens.size != (height, width):
            wanted = f"{lens.size[1]} x {lens.size[0]}"
            raise DataError(f"{camera_info}: of images of {wanted} pixels, the first of {path} has {width} x {height}")
    else:
        fx, fy, cx, cy = intrinsics
        lens = Lens(fx, fy, cx + 0.5, cy + 0.5, (height, width), source="the given intrinsics")
    return _Calibrated(source, lens)


def open_rig(path: Path, topics: Sequence[str], frame_id: str = FRAME_ID) -> RigSource:
    """Several image topics of one bag.

    Raises:
        DataError: no bag, or a topic without an image that can be used; it names the path and the cause.
    """
    if not is_bag(path):
        raise DataError(f"{path}: not a bag, so it has no topics of several cameras")
    source = RigSource(path, topics, frame_name(frame_id))
    for topic, camera in zip(topics, source.cameras.values(), strict=True):
        if next(iter(camera), None) is None:
            raise DataError(f"{path}: {topic}: none of {len(camera)} images can be used; {camera.refusals}")
    return source


def _open(
    path: Path, topic: str | None, rate_hz: float | None, frame_id: str, read_lens: bool, mask_topic: str | None
) -> Source:
    with border(path, "cannot be read"):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if not (path.is_dir() or path.is_file()):
            raise DataError(f"{path}: neither a file nor a folder")
        if is_bag(path):
            return BagSource(path, topic, frame_id, mask_topic)
        if mask_topic is not None:
            raise DataError(f"{path}: not a bag, so it has no topic {mask_topic} of masks")
        if path.is_dir():
            return FolderSource(path, rate_hz, frame_id, read_lens)
        if (reason := REFUSED.get(kind_of(read_head(path)))) is not None:
            raise DataError(f"{path}: {reason}")
        return VideoSource(path, rate_hz or DEFAULT_RATE_HZ, frame_id)


class _Calibrated:
    """A source with a given lens, for images of its size."""

    def __init__(self, source: Source, lens: Lens) -> None:
        self._source, self.camera_problem, self.refusals = source, "", Refusals()
        self.has_times, self.remarks = source.has_times, source.remarks
        self._lens = lens

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[SourceImage]:
        self.refusals = self._source.refusals
        for image in self._source:
            try:
                View(image.image, self._lens)
            except DataError as error:
                self.refusals.add(error, name=f"image at {image.stamp_ns} ns")
                continue
            yield replace(image, lens=self._lens)
