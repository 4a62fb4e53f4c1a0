"""Reconstructions as files, written as they come: depth images, recordings, and per map a cloud, a path and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .engine.builder import MapBuilder
from .engine.config import EngineConfig
from .engine.frames import Reconstruction
from .engine.rendering import RenderedFrame, point_records
from .errors import InputError
from .export import McapRecording, Shown, write_depth, write_page, write_ply, write_tum
from .viewing import StreamRecording

SHOWN = 12  # frames that are kept in memory for the page
MAP_FRAME = "map"


class Results:
    """A context: what is begun is finished when it ends, after an error too."""

    def __init__(self, folder: Path, config: EngineConfig, points_stride: int | None, rrd: Path | None = None) -> None:
        """``points_stride``: of the points in the recording; None: no recording. ``rrd``: a file for Rerun.

        Raises:
            InputError: the folder, or ``rrd``, cannot be written.
            ConfigError: ``rrd`` is asked for, and Rerun is not installed.
        """
        self.num_maps = 0
        self._folder, self._points_stride = folder, points_stride
        self._builder = MapBuilder(config)
        self._size: tuple[int, int] | None = None
        self._map_id = 0
        self._stride = 1  # of the frames that are kept for the page
        self._shown: list[Shown] = []
        self._stamps_ns: list[int] = []
        self._poses: list[np.ndarray] = []
        try:
            (folder / "depth").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made: {error.strerror}") from error
        self._viewed = None if rrd is None else StreamRecording(rrd, is_metric=False)
        self._recording = None if points_stride is None else McapRecording(folder / "recording", overwrite=True)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_map()
        for recording in (self._recording, self._viewed):
            if recording is not None:
                recording.close()

    def add(self, reconstruction: Reconstruction) -> None:
        if reconstruction.map_id != self._map_id:
            self._end_map()
            self._map_id = reconstruction.map_id
        if self._size is None:
            height, width = reconstruction.picture.image.shape[:2]
            self._size = height, width
        frame = RenderedFrame(reconstruction, self._size)
        self._builder.add(reconstruction)
        self._stamps_ns.append(reconstruction.stamp_ns)
        self._poses.append(reconstruction.map_from_cam)
        write_depth(self._folder / "depth" / f"{seconds(reconstruction.stamp_ns)}.tiff", frame.depth)
        if len(self._stamps_ns) % self._stride == 1 % self._stride:
            self._shown.append(Shown(seconds(reconstruction.stamp_ns), frame.rgb, frame.depth, frame.confidence))
            if len(self._shown) > SHOWN:
                self._shown, self._stride = self._shown[::2], 2 * self._stride
        if self._viewed is not None:
            self._viewed.add(reconstruction)
        if self._recording is not None and self._points_stride is not None:
            record(self._recording, reconstruction, frame, self._points_stride)

    def _end_map(self) -> None:
        if not self._stamps_ns:
            return
        self.num_maps += 1
        snapshot, stamps_ns, poses = self._builder.snapshot(), np.array(self._stamps_ns), np.stack(self._poses)
        write_ply(self._path("map", "ply"), *snapshot.cloud)
        write_tum(self._path("trajectory", "txt"), stamps_ns, poses)
        caption = f"{len(poses)} frames, {len(snapshot.cloud.points)} points; lengths up to one unknown factor"
        points, colors, _ = snapshot.cloud
        write_page(self._path("page", "png"), self._shown, points, colors, poses[:, :3, 3], caption)
        if self._viewed is not None:
            self._viewed.add_map(self._map_id, snapshot.cloud)
        if self._recording is not None:
            records = point_records(snapshot.cloud)
            self._recording.write_cloud("map_points", records, MAP_FRAME, self._stamps_ns[-1])
            self._recording.write_path(stamps_ns, poses, MAP_FRAME)
        self._stride, self._shown, self._stamps_ns, self._poses = 1, [], [], []

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}_{self._map_id}.{suffix}"


def record(recording: McapRecording, reconstruction: Reconstruction, frame: RenderedFrame, points_stride: int) -> None:
    """One frame on the node's topics."""
    where = reconstruction.frame_id, reconstruction.stamp_ns
    recording.write_image("rgb/image_rect", frame.rgb, "rgb8", *where)
    recording.write_image("depth/image", frame.depth, "32FC1", *where)
    recording.write_image("confidence/image", frame.confidence, "32FC1", *where)
    recording.write_camera_info(frame.intrinsics, frame.size, *where)
    recording.write_cloud("points", frame.points(points_stride), *where)
    recording.write_pose(reconstruction.map_from_cam, MAP_FRAME, *where)


def seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
