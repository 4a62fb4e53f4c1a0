"""Reconstructions as files: written as they come, and once more where the scale or a loop has moved them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DvltError, InputError
from ..export import write_page, write_ply, write_tum
from ..export.atomic import Outputs, clear_unfinished, is_for_room, write_atomically
from ..export.scenes import SceneFormat
from ..mapping.data.frames import Reconstruction
from ..mapping.map_files import SurfaceFiles
from ..mapping.maps.map_part import MapSnapshot
from ..mapping.maps.map_update import MapUpdate
from ..mapping.outputs.rendering import RenderedFrame, on_depth_grid, size_beside
from ..mapping.sensors.suite import Sensors
from ..mapping.surfaces.files import write_surfaces
from ..viewing import StreamRecording
from .depth_files import DepthFiles, clear_depths, depth_files
from .frame_log import FrameLog, LoggedFrame
from .frame_table import FRAMES, write_frames
from .gallery import Gallery
from .in_memory import SceneBuilder
from .recording import FrameRecording, clear_recording
from .scenes import SceneFiles, clear_scenes
from .sensors import RecordedSensors

METRES, UNSCALED = "lengths in metres", "lengths up to one unknown factor"
RECORDING = "recording"
REFUSED = "refused.txt"
UNPLACED = "unscaled_"  # before the names of files whose metres should be known and are not
LOADED = "loaded"  # in place of the number of a saved map in which the recording has found itself
NAMES = r"map_N\.ply|trajectory_N\.txt|page_N\.png|mesh_N\.(ply|glb)|voxels_N\.bt|grid_N\.(pgm|yaml)"
OF_A_MAP = re.compile(rf"({UNPLACED})?({NAMES})".replace("N", rf"(\d+|{LOADED})"))


@dataclass(frozen=True)
class OutputOptions:
    """What is written beside maps, paths and depth images."""

    network: str = ""  # model and checkpoint, as the files name them
    recording: bool = False  # the MCAP with the node's topics
    points_stride: int = 2  # of the points in the recording
    rrd: Path | None = None  # a file for Rerun
    full_resolution: bool = False  # images, depth and points as large as the images, not as the network sees them
    scenes: Sequence[SceneFormat] = ()  # in which maps are exported for other programs; they need full resolution


class Results:
    """Follows the mapper's updates. A context: what is begun is finished when it ends, after an error too.

    Each output stands for itself: one that cannot be written is named at the end and takes no other with it. Maps and
    trajectories come first, and have the room of the recording and of the depth images where there is too little.
    """

    def __init__(
        self, folder: Path | None, options: OutputOptions, recorded: RecordedSensors | None = None,
        scene: SceneBuilder | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            folder: None: no files.
            recorded: None with one camera alone.
            scene: gets the frames and maps, too.

        Raises:
            InputError: the folder, or the file for Rerun, cannot be written.
            ConfigError: a file for Rerun is asked for, and Rerun is not installed.
        """
        self.num_maps = 0
        self.surfaces: SurfaceFiles | None = None  # the mapper's: maps leave mesh and grid, too
        self._options, self._scene = options, scene
        self._outputs = Outputs()
        self._of_recording: list[tuple[MapSnapshot, Sequence[LoggedFrame]]] = []
        self._folder, sensors = folder, Sensors() if recorded is None else recorded.sensors
        self._is_metric, self._first_camera = sensors.tell_metres, sensors.first_camera or ""
        self._log, self._gallery = FrameLog(), Gallery()
        self._depths: DepthFiles | None = None
        self._viewed = None if options.rrd is None else StreamRecording(options.rrd, is_metric=self._is_metric)
        if folder is not None:  # only now: earlier results stay if this run cannot begin
            clear(folder)
            self._depths = DepthFiles(folder)
        self._ended: list[tuple[MapSnapshot, bool]] = []  # written when the frames of the latest update are known
        self._sizes: dict[str, tuple[int, int]] = {}  # of images, by camera
        self._scenes = SceneFiles(folder, options.scenes) if folder is not None and options.scenes else None
        self._recording: FrameRecording | None = None
        if folder is not None and options.recording:
            odometry = None if recorded is None else recorded.odometry
            cameras = () if sensors.rig is None else sensors.rig.cameras
            self._recording = FrameRecording(folder / RECORDING, options.points_stride, odometry, cameras)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises InputError: some outputs could not be written; it names them. After another error that one counts."""
        self._write_ended()
        self._try("depth", self._finish_depths)
        self._try("scenes", lambda: None if self._scenes is None else self._scenes.finish(self._depths))
        self._try("recording", self._finish_recording)
        self._try("rrd", lambda: None if self._viewed is None else self._viewed.close())
        if (folder := self._folder) is not None and self._log.frames:
            self._try(FRAMES, lambda: write_frames(folder / FRAMES, self._log.frames))
        if kind is None:
            self._outputs.check()

    @property
    def num_frames(self) -> int:
        return len(self._log.frames)

    @property
    def num_placed(self) -> int:
        """Frames in maps; the others wait for the scale."""
        return sum(frame.is_placed for frame in self._log.frames)

    def add(self, update: MapUpdate) -> None:
        self._log.apply(update)
        if update.map_from_visual is not None and update.visual_id is not None:
            self._gallery.place_waiting(update.visual_id)
        self._write_ended()
        for frame in update.frames:
            assert update.window is not None
            self._add(frame, update.is_placed, update.window.submap_id)

    def write_refusals(self, refused: Sequence[str]) -> None:
        """Every image that could not be used, by name and with its reason, one a line."""
        if (folder := self._folder) is not None and refused:
            self._try(REFUSED, lambda: write_atomically(folder / REFUSED, "\n".join([*refused, ""]).encode()))

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
        small = on_depth_grid(reconstruction)
        written = reconstruction if self._options.full_resolution else small
        height, width = written.picture.image.shape[:2]
        first = self._sizes.setdefault(reconstruction.camera, (height, width))
        frame = RenderedFrame(written, size_beside(first, (height, width)))
        logged = self._log.add(reconstruction, submap_id, is_placed)
        logged.intrinsics, logged.size = frame.intrinsics, frame.size
        if self._scene is not None:
            self._scene.add(logged, small)
        self._gallery.add(logged, frame)
        depths, recording, viewed, scenes = self._depths, self._recording, self._viewed, self._scenes
        if depths is not None:
            self._try("depth", lambda: depths.write(frame.depth, logged))
        if viewed is not None and is_placed:
            self._try("rrd", lambda: viewed.add(reconstruction))
        if recording is not None:
            self._try("recording", lambda: recording.add(reconstruction, frame))
        if scenes is not None:
            self._try("scenes", lambda: scenes.add(logged, frame))

    def _write_map(self, snapshot: MapSnapshot) -> None:
        if not (frames := self._log.of_map(snapshot.map_id)):
            return
        self.num_maps += 1
        self._write("", snapshot, frames)
        viewed = self._viewed
        if viewed is not None:
            self._try("rrd", lambda: viewed.add_map(snapshot.map_id, snapshot.cloud))
        self._of_recording.append((snapshot, list(frames)))

    def _finish_depths(self) -> None:
        if self._depths is not None:
            self._depths.finish()

    def _finish_recording(self) -> None:
        if self._recording is not None:
            self._recording.finish(self._log.frames)
            for snapshot, frames in self._of_recording:
                self._recording.add_map(snapshot, *columns(self._path_of(frames)))
            self._recording.close()

    def _try(self, name: str, write: Callable[[], object]) -> None:
        """One of the outputs beside maps and trajectories; where it fails, that output ends."""
        if not self._outputs.attempt(name, write):
            self._end(name)

    def _end(self, name: str) -> None:
        if name == "recording" and self._recording is not None:
            self._recording.discard()
            self._recording = None
        elif name == "depth":
            self._depths = None
        elif name == "rrd":
            self._viewed = None
        elif name == "scenes" and self._scenes is not None:
            self._scenes.discard()
            self._scenes = None

    def _path_of(self, frames: Sequence[LoggedFrame]) -> Sequence[LoggedFrame]:
        """Of a rig the first camera's frames; all, where that one has none."""
        return [frame for frame in frames if frame.camera == self._first_camera] or frames

    def _write_file(self, path: Path, write: Callable[[], object]) -> None:
        """One file of a map: if it fails for want of room, what is worth less gives it its own."""
        while True:
            try:
                write()
                return
            except DvltError as error:
                if not is_for_room(error) or (freed := self._make_room()) is None:
                    self._outputs.failures.append(str(error))
                    return
                self._outputs.failures.append(f"{freed} left out for the room of {path.name}")

    def _make_room(self) -> str | None:
        """What was taken away: scenes, the recording, the depth images; None: there is nothing more."""
        if self._scenes is not None:
            self._end("scenes")
            return "scenes"
        if self._recording is not None:
            self._end("recording")
            return "recording"
        if self._folder is not None and any(depth_files(self._folder)):
            self._end("depth")
            clear_depths(self._folder)
            return "depth images"
        return None

    def _write(self, prefix: str, snapshot: MapSnapshot, frames: Sequence[LoggedFrame]) -> None:
        if self._scene is not None:
            self._scene.add_map(snapshot, frames)
        if (folder := self._folder) is None:
            return
        stamps_ns, poses = columns(self._path_of(frames))
        points, colors, confidence = snapshot.cloud
        unit = METRES if self._is_metric and not prefix else UNSCALED
        name_of_map = str(frames[0].map_id) if frames[0].map_id >= 0 else LOADED

        def path(name: str) -> Path:
            stem, suffix = name.split(".")
            return folder / f"{prefix}{stem}_{name_of_map}.{suffix}"

        about = f"{unit}; {self._options.network}" if self._options.network else unit
        caption = f"{len(frames)} frames, {len(points)} points; {about}"
        map_, trajectory, page = (path(name) for name in ("map.ply", "trajectory.txt", "page.png"))
        self._write_file(trajectory, lambda: write_tum(trajectory, stamps_ns, poses, comment=about))
        self._write_file(map_, lambda: write_ply(map_, points, colors, confidence, comment=about))
        if (surfaces := self.surfaces) is not None and not prefix:
            mesh, grid = path("mesh.ply"), path("grid.pgm")
            map_id = snapshot.map_id
            self._try(mesh.name, lambda: write_surfaces(surfaces.of, map_id, mesh, grid, surfaces.band, about))
        shown = self._gallery.of(frames)
        if self._scenes is not None:
            self._scenes.add_map(f"{prefix}scene_{name_of_map}", snapshot, frames)
        self._try(page.name, lambda: write_page(page, shown, points, colors, poses[:, :3, 3], caption))


def clear(folder: Path) -> None:
    """An earlier run's files: where this one does not replace them, their maps, stamps and units would be others."""
    try:
        for path in folder.glob("*"):
            if (OF_A_MAP.fullmatch(path.name) or path.name in (FRAMES, REFUSED)) and path.is_file():
                path.unlink()
        clear_unfinished(folder)
        clear_depths(folder)
        clear_scenes(folder)
        clear_recording(folder / RECORDING)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def columns(frames: Sequence[LoggedFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) in ns and poses (N, 4, 4)."""
    return np.array([frame.stamp_ns for frame in frames]), np.stack([frame.map_from_cam for frame in frames])
