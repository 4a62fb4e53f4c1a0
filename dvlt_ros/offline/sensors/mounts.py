"""Where sensors are on the robot, by the TF of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError
from ...frame_names import frame_name
from ...mapping.sensors.odometry import OdometryConfig
from ...sources.recording import open_recording
from ...sources.transforms import read_transforms


class RecordedMounts:
    """The whole tree, read once."""

    def __init__(self, path: Path, config: OdometryConfig) -> None:
        """``config.max_gap_s``: moving joints are not interpolated over a longer pause."""
        self._path, self._max_gap_ns = path, round(config.max_gap_s * 1e9)
        with open_recording(path) as recording:
            self._tree = read_transforms(recording)

    def look_up(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """target_from_source (4, 4), metres, at a stamp. Raises DataError: the recording does not tell."""
        return self._tree.look_up(frame_name(target), frame_name(source), stamp_ns, self._max_gap_ns, is_mount=True)

    def check(self, target: str, source: str, what: str) -> None:
        """Whether the frames are connected at all. Raises DataError: they are not; it says ``what`` needs them."""
        try:
            self._tree.moves(frame_name(target), frame_name(source))
        except DataError as error:
            raise DataError(f"{self._path}: {what}: {error}") from error
