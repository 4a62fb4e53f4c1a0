"""images.csv: which image every depth image is of, in which map it is, and its camera's intrinsics."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..export.atomic import write_atomically
from .depth_files import seconds
from .frame_log import LoggedFrame

FRAMES = "images.csv"
COLUMNS = ("stamp_s", "name", "camera", "map", "width", "height", "fx", "fy", "cx", "cy")


def write_frames(path: Path, frames: Sequence[LoggedFrame]) -> None:
    """One row per frame, in the order in which they came; intrinsics of pixel (0, 0) centred at (0.5, 0.5).

    ``map`` is the number in the map's file names, with ``unscaled_`` before it where those have it.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for frame in frames:
        assert frame.intrinsics is not None
        (fx, _, cx), (_, fy, cy) = frame.intrinsics[:2].tolist()
        name_of_map = f"{'' if frame.is_placed else 'unscaled_'}{frame.map_id if frame.map_id >= 0 else 'loaded'}"
        height, width = frame.size
        intrinsics = [f"{value:.4f}" for value in (fx, fy, cx, cy)]
        table.writerow(
            [seconds(frame.stamp_ns), frame.name, frame.camera, name_of_map, width, height, *intrinsics]
        )  # fmt: skip
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))
