"""Which frames of a recording become training frames, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.lens import Lens, rectification
from dvlt_ros.sources.messages import colour_image, depth_image
from dvlt_ros.sources.recording import Recording

from ..batches.augment import Frame
from .registration import register_depth
from .rig import FoundTopics, Rig, Topics
from .sequence import check_depth, rigid_pose

Reason = Literal[
    "no depth within tolerance",
    "no camera_info",
    "no transform at stamp",
    "too little motion",
    "beyond max_frames",
    "unreadable image or depth",
    "implausible depth",
]
REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True)
class BagOptions:
    """What to take from a recording."""

    topics: Topics = field(default_factory=Topics)
    world_frame: str | None = None  # found: the frame at the top of the camera's tree, or odometry's
    camera_frame: str | None = None  # found: the images' frame_id
    rectified: bool = False  # the images are those of P in camera_info (image_rect)
    max_time_difference_s: float = 0.02  # between an image and its depth image
    max_gap_s: float = 0.5  # between two transforms that are interpolated
    min_translation_m: float = 0.02  # a frame is kept if it moved or turned that far from the last one
    min_rotation_deg: float = 1.0
    max_frames: int | None = None  # evenly spaced over those that could be kept
    image_format: Literal["png", "jpg"] = "png"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("max_time_difference_s", "max_gap_s", "min_translation_m", "min_rotation_deg"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ConfigError(f"max_frames must be at least 1, got {self.max_frames}")
        if self.image_format not in ("png", "jpg"):
            raise ConfigError(f"image_format must be png or jpg, got {self.image_format!r}")

    @property
    def max_gap_ns(self) -> int:
        return int(self.max_gap_s * 1e9)


@dataclass
class BagReport:
    """What became of every colour image of a recording."""

    bag: str
    images: int = 0
    kept: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by reason
    examples: dict[str, str] = field(default_factory=dict)  # the first refusal of each reason, in full
    topics: FoundTopics | None = None
    world_frame: str = ""
    camera_frame: str = ""

    def refuse(self, reason: Reason, detail: object) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        self.examples.setdefault(reason, str(detail))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        rows = [("images", self.images, ""), ("kept", self.kept, "")]
        rows += [(name, self.refused[name], self.examples[name]) for name in REASONS if name in self.refused]
        lines = [f"{name:<28}{count:>8}   {detail}".rstrip() for name, count, detail in rows]
        if self.topics is not None:
            poses = f"{self.camera_frame} in {self.world_frame} from {self.topics.odometry or 'TF'}"
            lines.append(f"{self.topics.image} with {self.topics.depth}; {poses}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Candidate:
    """An image that may be kept, as far as one can tell without decoding it."""

    image: int  # which message of its topic
    depth: int
    stamp_ns: int
    world_from_cam: np.ndarray  # (4, 4)


class _RefusedError(Exception):
    def __init__(self, reason: Reason, detail: object) -> None:
        super().__init__(str(detail))
        self.reason: Reason = reason


@contextmanager
def _refused_as(reason: Reason) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise _RefusedError(reason, error) from error


def plan(recording: Recording, rig: Rig, options: BagOptions, report: BagReport) -> list[Candidate]:
    """The images with depth, camera, pose and motion, by stamp; the others go into the report."""
    stamps, depth_stamps = recording.stamps(rig.topics.image), recording.stamps(rig.topics.depth)
    report.images = len(stamps)
    chosen: list[Candidate] = []
    for image in np.argsort(stamps, kind="stable").tolist():
        stamp = int(stamps[image])
        try:
            candidate = _candidate(image, stamp, depth_stamps, rig, options)
            if chosen and not _moved(chosen[-1].world_from_cam, candidate.world_from_cam, options):
                raise _RefusedError("too little motion", "next to the frame kept before it")
        except _RefusedError as refusal:
            report.refuse(refusal.reason, f"{_time(stamp)} {refusal}")
        else:
            chosen.append(candidate)
    return _thin(chosen, options, report)


def _candidate(image: int, stamp: int, depth_stamps: np.ndarray, rig: Rig, options: BagOptions) -> Candidate:
    depth = int(np.abs(depth_stamps - stamp).argmin())
    away_s = abs(int(depth_stamps[depth]) - stamp) * 1e-9
    if away_s > options.max_time_difference_s:
        raise _RefusedError("no depth within tolerance", f"the nearest is {away_s:.3f} s away")
    with _refused_as("no camera_info"):
        rig.lens.at(stamp)
        rig.depth_lens.at(stamp)
    with _refused_as("no transform at stamp"):
        pose = rig.transforms.look_up(rig.world_frame, rig.camera_frame, stamp, options.max_gap_ns)
        return Candidate(image, depth, stamp, rigid_pose(pose, "transform"))


def read_frames(
    recording: Recording, rig: Rig, options: BagOptions, candidates: Sequence[Candidate], report: BagReport
) -> Iterator[tuple[Candidate, Frame | None]]:
    """Decodes the candidates in the order of recording; None for one that the report counts as refused.

    Only messages whose partner has not come yet are held in memory.
    """
    step_m = float(np.median(_steps(candidates))) if len(candidates) > 1 else 0.0
    uses = Counter(candidate.depth for candidate in candidates)
    waiting = {candidate.image: candidate for candidate in candidates}
    images: dict[int, bytes] = {}
    depths: dict[int, bytes] = {}
    for topic, index, data in recording.raw([rig.topics.image, rig.topics.depth]):
        if topic == rig.topics.image and index in waiting:
            images[index] = data
        elif topic == rig.topics.depth and index in uses:
            depths[index] = data
        for candidate in [waiting[image] for image in images if waiting[image].depth in depths]:
            frame = None
            try:
                image_data, depth_data = images.pop(candidate.image), depths[candidate.depth]
                frame = _frame(recording, rig, options, candidate, image_data, depth_data, step_m)
            except _RefusedError as refusal:
                report.refuse(refusal.reason, f"{_time(candidate.stamp_ns)} {refusal}")
            yield candidate, frame
            uses[candidate.depth] -= 1
            if not uses[candidate.depth]:
                del depths[candidate.depth]


def _frame(
    recording: Recording, rig: Rig, options: BagOptions, candidate: Candidate,
    image_data: bytes, depth_data: bytes, step_m: float,
) -> Frame:  # fmt: skip
    stamp = candidate.stamp_ns
    with _refused_as("unreadable image or depth"):
        image = colour_image(recording.decode(rig.topics.image, image_data))
        depth = depth_image(recording.decode(rig.topics.depth, depth_data))
        image, intrinsics = _rectified(image, rig.lens.at(stamp), rig.topics.image)
        depth, depth_intrinsics = _rectified(depth, rig.depth_lens.at(stamp), rig.topics.depth)
    size = image.shape[:2]
    same_camera = rig.depth_frame == rig.camera_frame and depth.shape == size
    if not (same_camera and np.allclose(depth_intrinsics, intrinsics, rtol=0, atol=1e-3)):
        with _refused_as("no transform at stamp"):
            camera_from_depth = rig.transforms.look_up(rig.camera_frame, rig.depth_frame, stamp, options.max_gap_ns)
        depth = register_depth(depth, depth_intrinsics, camera_from_depth, intrinsics, size)
    with _refused_as("implausible depth"):
        check_depth(depth, step_m, rig.topics.depth)
    return Frame(image, depth, candidate.world_from_cam, intrinsics)


def _rectified(pixels: np.ndarray, lens: Lens, topic: str) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3) or depth (H, W) as a pinhole image, and its intrinsics."""
    if pixels.shape[:2] != lens.size:
        got, wanted = (f"{size[1]} x {size[0]}" for size in (pixels.shape[:2], lens.size))
        raise DataError(f"{topic}: the image is {got} but its camera_info {wanted}")
    if not lens.is_distorted:
        return pixels, lens.intrinsics
    pinhole = rectification(lens)
    return (pinhole.image if pixels.ndim == 3 else pinhole.depth)(pixels), pinhole.intrinsics


def _moved(last: np.ndarray, pose: np.ndarray, options: BagOptions) -> bool:
    translation = float(np.linalg.norm(pose[:3, 3] - last[:3, 3]))
    cosine = (np.trace(last[:3, :3].T @ pose[:3, :3]) - 1) / 2
    rotation = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return translation >= options.min_translation_m or rotation >= options.min_rotation_deg


def _thin(candidates: list[Candidate], options: BagOptions, report: BagReport) -> list[Candidate]:
    if options.max_frames is None or len(candidates) <= options.max_frames:
        return candidates
    kept = set(np.linspace(0, len(candidates) - 1, options.max_frames).round().astype(int).tolist())
    for index, candidate in enumerate(candidates):
        if index not in kept:
            report.refuse("beyond max_frames", f"{_time(candidate.stamp_ns)} {len(candidates)} could be kept")
    return [candidates[index] for index in sorted(kept)]


def _steps(candidates: Sequence[Candidate]) -> np.ndarray:
    positions = np.stack([candidate.world_from_cam[:3, 3] for candidate in candidates])
    return np.linalg.norm(np.diff(positions, axis=0), axis=-1)


def _time(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} s:"
