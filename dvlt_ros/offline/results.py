"""Reconstructions as files: written as they come, and once more where the scale or a loop has moved them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..export import write_page, write_ply, write_tum
from ..mapping.data.frames import Reconstruction
from ..mapping.maps.map_part import MapSnapshot
from ..mapping.maps.map_update import MapUpdate
from ..mapping.outputs.rendering import RenderedFrame
from ..viewing import StreamRecording
from .depth_files import DepthFiles, clear_depths
from .frame_log import FrameLog, LoggedFrame
from .gallery import Gallery
from .odometry import CameraOdometry
from .recording import FrameRecording, clear_recording

METRES, UNSCALED = "lengths in metres", "lengths up to one unknown factor"
RECORDING = "recording"
UNPLACED = "unscaled_"  # before the names of files whose metres should be known and are not
OF_A_MAP = re.compile(rf"({UNPLACED})?(map_\d+\.ply|trajectory_\d+\.txt|page_\d+\.png)")


class Results:
    """Follows the mapper's updates. A context: what is begun is finished when it ends, after an error too."""

    def __init__(
        self, folder: Path, points_stride: int | None, rrd: Path | None = None,
        odometry: CameraOdometry | None = None,
    ) -> None:  # fmt: skip
        """``points_stride``: of the points in the recording; None: no recording. ``rrd``: a file for Rerun.

        Raises:
            InputError: the folder, or ``rrd``, cannot be written.
            ConfigError: ``rrd`` is asked for, and Rerun is not installed.
        """
        self.num_maps = 0
        self._folder, self._odometry = folder, odometry
        clear(folder)
        self._log, self._gallery, self._depths = FrameLog(), Gallery(), DepthFiles(folder)
        self._ended: list[tuple[MapSnapshot, bool]] = []  # written when the frames of the latest update are known
        self._size: tuple[int, int] | None = None
        self._viewed = None if rrd is None else StreamRecording(rrd, is_metric=odometry is not None)
        recording = folder / RECORDING
        self._recording = None if points_stride is None else FrameRecording(recording, points_stride, odometry)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._depths.finish()
        if self._recording is not None:
            self._recording.finish(self._log.frames)
        self._write_ended()
        for recording in (self._recording, self._viewed):
            if recording is not None:
                recording.close()

    @property
    def num_frames(self) -> int:
        return len(self._log.frames)

    @property
    def num_placed(self) -> int:
        """Frames in maps; the others wait for the scale."""
        return sum(frame.is_placed for frame in self._log.frames)

    def add(self, update: MapUpdate) -> None:
        for correction in update.corrections:
            self._log.correct(correction)
        if update.map_from_visual is not None and update.map_id is not None and update.visual_id is not None:
            self._log.place_waiting(update.map_from_visual, update.visual_id, update.map_id)
            self._gallery.place_waiting(update.visual_id)
        self._write_ended()
        for frame in update.frames:
            assert update.window is not None
            self._add(frame, update.is_placed, update.window.submap_id)

    def map_ended(self, snapshot: MapSnapshot, is_placed: bool) -> None:
        """The mapper does not keep this map any longer; without a place its frames will never have one."""
        self._ended.append((snapshot, is_placed))

    def _write_ended(self) -> None:
        ended, self._ended = self._ended, []
        for snapshot, is_placed in ended:
            if is_placed:
                self._write_map(snapshot)
            elif frames := self._log.waiting(snapshot.map_id):
                self._write(UNPLACED, snapshot, frames)

    def _add(self, reconstruction: Reconstruction, is_placed: bool, submap_id: int) -> None:
        if self._size is None:
            height, width = reconstruction.picture.image.shape[:2]
            self._size = height, width
        frame = RenderedFrame(reconstruction, self._size)
        logged = self._log.add(reconstruction, submap_id, is_placed)
        self._depths.write(frame.depth, logged)
        self._gallery.add(logged, frame)
        if self._viewed is not None and is_placed:
            self._viewed.add(reconstruction)
        if self._recording is not None:
            self._recording.add(reconstruction, frame)

    def _write_map(self, snapshot: MapSnapshot) -> None:
        if not (frames := self._log.of_map(snapshot.map_id)):
            return
        self.num_maps += 1
        self._write("", snapshot, frames)
        if self._viewed is not None:
            self._viewed.add_map(snapshot.map_id, snapshot.cloud)
        if self._recording is not None:
            self._recording.add_map(snapshot, *columns(frames))

    def _write(self, prefix: str, snapshot: MapSnapshot, frames: Sequence[LoggedFrame]) -> None:
        stamps_ns, poses = columns(frames)
        points, colors, confidence = snapshot.cloud
        unit = METRES if self._odometry is not None and not prefix else UNSCALED

        def path(name: str) -> Path:
            stem, suffix = name.split(".")
            return self._folder / f"{prefix}{stem}_{frames[0].map_id}.{suffix}"

        write_ply(path("map.ply"), points, colors, confidence, comment=unit)
        write_tum(path("trajectory.txt"), stamps_ns, poses, comment=unit)
        caption = f"{len(frames)} frames, {len(points)} points; {unit}"
        write_page(path("page.png"), self._gallery.of(frames), points, colors, poses[:, :3, 3], caption)


def clear(folder: Path) -> None:
    """An earlier run's files: where this one does not replace them, their maps, stamps and units would be others."""
    for path in folder.glob("*"):
        if OF_A_MAP.fullmatch(path.name) and path.is_file():
            path.unlink()
    clear_depths(folder)
    clear_recording(folder / RECORDING)


def columns(frames: Sequence[LoggedFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) in ns and poses (N, 4, 4)."""
    return np.array([frame.stamp_ns for frame in frames]), np.stack([frame.map_from_cam for frame in frames])
