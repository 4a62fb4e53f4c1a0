"""Reconstructions as a Rerun recording, from files and live from the node."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .export.rerun import LoggedView, RerunRecording
from .mapping.data.frames import Cloud, Reconstruction
from .mapping.outputs.rendering import RenderedFrame

LONGEST_EDGE = 480  # pixels of logged images
MOST_POINTS = 12_000  # of each frame: a viewer keeps those of all frames in sight
UNSCALED = "Lengths are up to one unknown factor per map."
METRIC = "Lengths are in metres."


class StreamRecording:
    """Frames with their stamps; every map is a space ``map_N`` of its own. A context manager, like the recording."""

    def __init__(self, target: str | Path, is_metric: bool) -> None:
        """Errors are those of `RerunRecording`."""
        self._recording = RerunRecording(target, METRIC if is_metric else UNSCALED)
        self._file = Path(target).expanduser() if str(target).endswith(".rrd") else None
        self._spaces: list[str] = []
        self._positions: dict[str, np.ndarray] = {}  # the latest, by camera

    def __enter__(self) -> StreamRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, reconstruction: Reconstruction) -> None:
        space = f"map_{reconstruction.map_id}"
        camera = f"{space}/{reconstruction.camera or 'camera'}"
        self._recording.set_stamp(reconstruction.stamp_ns)
        if space not in self._spaces:
            self._spaces.append(space)
            self._recording.begin_space(space, "z_up")
        if camera not in self._positions:  # the latest map first, and with it its first camera
            own = [other for other in self._positions if other.startswith(f"{space}/")]
            cameras = list(dict.fromkeys([*own, camera, *self._positions]))
            self._recording.show(self._spaces[::-1], cameras, accumulate=True)
        self._recording.log_camera(camera, logged_view(reconstruction))
        cloud = reconstruction.cloud(stride=math.ceil(math.sqrt(reconstruction.depth.size / MOST_POINTS)))
        self._recording.log_points(f"{space}/points", cloud.points, cloud.colors)
        position = reconstruction.map_from_cam[:3, 3]
        if (before := self._positions.get(camera)) is not None:
            self._recording.log_line(f"{space}/path", np.stack([before, position]))
        self._positions[camera] = position

    def add_map(self, map_id: int, cloud: Cloud) -> None:
        """The merged cloud of a map, at the time of its last frame."""
        self._recording.log_points(f"map_{map_id}/merged", cloud.points, cloud.colors)

    def flush(self, timeout_s: float) -> None:
        """Raises InputError: the viewer is gone."""
        self._recording.flush(timeout_s)

    def close(self) -> None:
        """A file in which nothing came is not left."""
        self._recording.close()
        if not self._spaces and self._file is not None:
            self._file.unlink(missing_ok=True)


def logged_view(reconstruction: Reconstruction) -> LoggedView:
    """A frame, reduced so that a viewer can keep many of them."""
    height, width = reconstruction.picture.image.shape[:2]
    scale = min(1.0, LONGEST_EDGE / max(height, width))
    frame = RenderedFrame(reconstruction, (max(1, round(scale * height)), max(1, round(scale * width))))
    return LoggedView(frame.rgb, frame.depth, frame.confidence, frame.intrinsics, reconstruction.map_from_cam)
