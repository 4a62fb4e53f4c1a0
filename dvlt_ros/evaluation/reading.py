"""Reads trajectories: TUM files and camera poses of bags. Invalid rows are refused with their line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..sources.open import is_bag
from ..sources.recording import Recording, open_recording
from ..sources.times import read_times, unit_remark

POSES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")
PATH = "nav_msgs/msg/Path"
BAGS = (".mcap", ".db3")
COLUMNS = "timestamp tx ty tz qx qy qz qw"
BEYOND_SECONDS = 1e11  # times in milli-, micro- or nanoseconds
UNIT_TOLERANCE = 0.01  # of a quaternion's length: printed digits may be few, but not wrong


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses of one body in the order of time."""

    name: str  # in errors
    stamps_s: np.ndarray  # (N,)
    positions: np.ndarray  # (N, 3)
    quaternions: np.ndarray  # (N, 4), x y z w, of length 1
    remark: str = ""  # of a file whose times are not in seconds


def read_trajectory(path: Path, topic: str | None = None) -> Trajectory:
    """A TUM file, or the poses of a bag (its folder, or a .mcap or .db3 file).

    Raises:
        DataError: it cannot be read, or a row of it is no pose; it names the file, the row and the cause.
    """
    has_messages = path.is_dir() or path.suffix in BAGS or is_bag(path)
    if topic is not None and not has_messages:
        raise DataError(f"{path}: a topic was asked for, but this is not a bag")
    remark = ""
    if has_messages:
        labels, rows = _bag_rows(path, topic)
    else:
        labels, rows, remark = _tum_rows(path)
    if not rows:
        raise DataError(f"{path}: no poses")
    table = np.array(rows)
    norms = np.linalg.norm(table[:, 4:], axis=1)
    problems = {
        "not finite": ~np.isfinite(table).all(axis=1),
        "its quaternion (x y z w) is not of length 1": np.abs(norms - 1) > UNIT_TOLERANCE,
        "its stamp is not after the one before": np.diff(table[:, 0], prepend=-np.inf) <= 0,
    }
    for cause, wrong in problems.items():
        if wrong.any():
            raise DataError(f"{path}: {labels[int(wrong.argmax())]}: {cause}")
    return Trajectory(str(path), table[:, 0], table[:, 1:4], table[:, 4:] / norms[:, None], remark)


def _tum_rows(path: Path) -> tuple[list[str], list[list[float]], str]:
    """Their names in errors, the rows, and a remark on the unit of the times."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file, so no TUM trajectory") from error
    labels: list[str] = []
    times: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise DataError(f"{path}: line {number}: not numbers; TUM rows are '{COLUMNS}'") from error
        if len(row) != 8:
            raise DataError(f"{path}: line {number}: {len(row)} columns; TUM rows have 8: '{COLUMNS}'")
        labels.append(f"line {number}")
        rows.append(row)
        times.append(words[0])
    remark = ""
    if any(abs(row[0]) >= BEYOND_SECONDS and np.isfinite(row[0]) for row in rows):
        found = read_times(times, str(path))
        remark = unit_remark(found, str(path))
        for row, stamp_ns in zip(rows, found.stamps_ns.tolist(), strict=True):
            row[0] = stamp_ns * 1e-9
    return labels, rows, remark


def _bag_rows(path: Path, topic: str | None) -> tuple[list[str], list[list[float]]]:
    rows = []
    with open_recording(path) as recording:
        topic = recording.choose(topic, "a camera pose", "--topic", POSES, lambda message: True)
        _refuse_several_maps(recording)
        for _, _, data in recording.raw([topic]):
            message = recording.decode(topic, data)
            pose = message.pose.pose if hasattr(message.pose, "pose") else message.pose
            p, q = pose.position, pose.orientation
            rows.append([_seconds(message.header), p.x, p.y, p.z, q.x, q.y, q.z, q.w])
    return [f"{topic}, message {number}" for number in range(len(rows))], rows


def _refuse_several_maps(recording: Recording) -> None:
    """Refuses several maps on one pose topic, which have different origins and scales; their paths do not overlap."""
    maps = 0
    last_s = -np.inf
    for topic in recording.topics_of(PATH):
        for _, message in recording.messages(topic):
            stamps_s = [_seconds(pose.header) for pose in message.poses]
            if stamps_s:
                maps += stamps_s[0] > last_s
                last_s = stamps_s[-1]
    if maps > 1:
        raise DataError(
            f"{recording.path}: {maps} maps, each with its own origin and scale; "
            "evaluate the trajectory file of each one instead"
        )


def _seconds(header: Any) -> float:
    return float(header.stamp.sec + 1e-9 * header.stamp.nanosec)
