"""The MCAP recording with the node's topics: written as frames come, corrected at the end.

What a frame shows never changes; its lengths and its place do, when the scale becomes known or a loop is closed. So
poses and transforms are written last, and what has a length is written once more where anything has moved.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..export import McapRecording
from ..export.mcap import topics_of
from ..frame_names import message_stamp_ns
from ..mapping.data.frames import Reconstruction
from ..mapping.maps.map_part import MapSnapshot
from ..mapping.outputs.rendering import POINT, RenderedFrame, point_records
from ..mapping.sensors.odometry import OdometryError, inverse
from ..sources.messages import header_stamp_ns
from ..sources.recording import open_recording
from .frame_log import LoggedFrame
from .sensors import CameraOdometry, Link

MAP_FRAME = "map"
SIGHTS = ("rgb/image_rect", "confidence/image", "depth/camera_info")
LENGTHS = ("depth/image", "points")
OF_MAPS = ("map_points", "path")


class FrameRecording:
    """A rosbag2 folder, there when it is closed; frames in the units in which they come until `finish`."""

    def __init__(
        self, folder: Path, points_stride: int, odometry: CameraOdometry | None, cameras: Sequence[str] = ()
    ) -> None:
        """``cameras``: names within a rig, the one whose path and pose are written first.

        Raises:
            InputError: it cannot be written, or is there already.
        """
        self._folder, self._points_stride, self._odometry = folder, points_stride, odometry
        self._cameras = cameras
        if folder.exists() or folder.is_symlink():
            raise InputError(f"{folder}: cannot be written: it is there already, and not of an earlier run")
        self._written = draft_of(folder) / "as_they_come" / folder.name
        self._recording = self._begin(self._written)

    def add(self, reconstruction: Reconstruction, frame: RenderedFrame) -> None:
        where = reconstruction.frame_id, reconstruction.stamp_ns
        own = f"{reconstruction.camera}/" if reconstruction.camera else ""
        self._recording.write_image(f"{own}rgb/image_rect", frame.rgb, "rgb8", *where)
        self._recording.write_image(f"{own}depth/image", frame.depth, "32FC1", *where)
        self._recording.write_image(f"{own}confidence/image", frame.confidence, "32FC1", *where)
        self._recording.write_camera_info(f"{own}depth/camera_info", frame.intrinsics, frame.size, *where)
        self._recording.write_cloud(f"{own}points", frame.points(self._points_stride), *where)

    def add_map(self, snapshot: MapSnapshot, stamps_ns: np.ndarray, map_from_cam: np.ndarray) -> None:
        """Cloud and path (N, 4, 4) at the stamp of its last frame."""
        self._recording.write_cloud("map_points", point_records(snapshot.cloud), MAP_FRAME, int(stamps_ns[-1]))
        self._recording.write_path(stamps_ns, map_from_cam, MAP_FRAME)

    def finish(self, frames: Sequence[LoggedFrame]) -> None:
        """All frames, in the order in which they came: where they are in the end."""
        if any(frame.has_moved or not frame.is_placed for frame in frames):
            self._write_anew(frames)
        for frame in frames:
            if frame.is_placed:
                if frame.camera == next(iter(self._cameras), ""):
                    self._recording.write_pose(frame.map_from_cam, MAP_FRAME, frame.stamp_ns)
                if links := self._links(frame):
                    self._recording.write_transforms(links, frame.stamp_ns)

    def close(self) -> None:
        """From now on it is there. Raises InputError: its end cannot be written."""
        self._recording.close()
        try:
            self._written.rename(self._folder)
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be written: {error.strerror}") from error
        shutil.rmtree(draft_of(self._folder), ignore_errors=True)

    def discard(self) -> None:
        """What is written of it goes, and its room is free for others."""
        with suppress(InputError, OSError):
            self._recording.close()
        shutil.rmtree(draft_of(self._folder), ignore_errors=True)

    def _begin(self, folder: Path) -> McapRecording:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder.parent}: cannot be written: {error.strerror}") from error
        return McapRecording(folder, self._cameras)

    def _write_anew(self, frames: Sequence[LoggedFrame]) -> None:
        """With lengths as they are now, and without those whose unit is another one."""
        self._recording.close()
        draft, self._written = self._written, draft_of(self._folder) / "in_the_end" / self._folder.name
        self._recording = self._begin(self._written)
        by_stamp: dict[tuple[str, int], list[LoggedFrame]] = defaultdict(list)  # a clock may have been set back
        for frame in frames:
            for topic in LENGTHS:
                own = f"{frame.camera}/{topic}" if frame.camera else topic
                by_stamp[own, message_stamp_ns(frame.stamp_ns)].append(frame)
        topics = [name for topic in (*SIGHTS, *LENGTHS, *OF_MAPS) for name in topics_of(topic, self._cameras)]
        seen: Counter[tuple[str, int]] = Counter()
        with open_recording(draft) as source:
            for path, _, data in source.raw([f"/{topic}" for topic in topics]):
                topic, stamp_ns = path[1:], header_stamp_ns(data)
                if not topic.endswith(LENGTHS) or topic in OF_MAPS:
                    self._recording.write_serialised(topic, stamp_ns, data)
                    continue
                frame = by_stamp[topic, stamp_ns][seen[topic, stamp_ns]]
                seen[topic, stamp_ns] += 1
                if frame.is_placed:
                    message = rescaled(source.decode(path, data), frame.scale)
                    self._recording.write_message(topic, stamp_ns, message)
        shutil.rmtree(draft, ignore_errors=True)

    def _links(self, frame: LoggedFrame) -> list[Link]:
        """map -> odom -> base -> camera as REP-105 has it; map -> camera if there is no odom, or it is called map."""
        if self._odometry is None or self._odometry.odom_frame == MAP_FRAME:
            return [Link(MAP_FRAME, frame.frame_id, frame.map_from_cam)]
        try:
            links = self._odometry.links(frame.stamp_ns, frame.frame_id)
            odom_from_cam = self._odometry.camera(frame.stamp_ns, frame.frame_id).odom_from_cam
        except OdometryError:  # a second parent of the camera would break the tree
            return []
        return [Link(MAP_FRAME, self._odometry.odom_frame, frame.map_from_cam @ inverse(odom_from_cam)), *links]


def clear_recording(folder: Path) -> None:
    """That of an earlier run, and what is left of one that broke off; not what somebody else has put there."""
    shutil.rmtree(draft_of(folder), ignore_errors=True)
    own = {f"{folder.name}.mcap", "metadata.yaml"}
    if folder.is_dir() and not folder.is_symlink() and {path.name for path in folder.iterdir()} <= own:
        shutil.rmtree(folder)


def draft_of(folder: Path) -> Path:
    """Where a recording lies while it is written once more."""
    return folder.with_name(f".{folder.name}.unfinished")


def rescaled(message: Any, scale: float) -> Any:
    """An image of depths, or a cloud of `POINT` records, as rosbags has decoded it."""
    if hasattr(message, "encoding"):
        message.data = (message.data.view(np.float32) * np.float32(scale)).view(np.uint8)
        return message
    points = message.data.view(POINT).copy()
    for axis in "xyz":
        points[axis] *= np.float32(scale)
    message.data = points.view(np.uint8)
    return message
