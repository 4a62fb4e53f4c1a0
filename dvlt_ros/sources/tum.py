"""The TUM tools' text files: a time first, then what it is the time of; rows with # are remarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from .border import border
from .times import Times, read_times, unit_remark

MAX_BYTES = 1 << 30  # of a text file


def trajectory_rows(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of time, translation, quaternion xyzw; camera to world. Commas between the values are taken, too.

    Returns stamps (N,) in ns, translations (N, 3) in metres, quaternions (N, 4).

    Raises:
        DataError: an unreadable file or row.
    """
    times, translations, quaternions = read_trajectory(path)
    return times.stamps_ns, translations, quaternions


def read_trajectory(path: Path) -> tuple[Times, np.ndarray, np.ndarray]:
    """As `trajectory_rows`, with the unit of the times."""
    rows = tum_rows(path)
    bad = next((row for row in rows if len(row) != 8), None)
    if bad is not None:
        raise DataError(f"{path}: a row has 8 values (time, translation, quaternion xyzw), got {shown(bad)!r}")
    try:
        values = np.array([[float(value) for value in row[1:]] for row in rows]).reshape(-1, 7)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return read_times([row[0] for row in rows], str(path)), values[:, :3], values[:, 3:]


def read_listing(path: Path) -> tuple[list[tuple[int, Path]], str]:
    """(stamp in ns, path) of the images that an rgb.txt names, by time, and a remark on the unit if it is not seconds.

    Raises:
        DataError: an unreadable file or row, no images, or times below 0.
    """
    rows = listed_files(path)
    times = read_times([time for time, _ in rows], str(path))
    images = sorted((int(stamp), path.parent / name) for stamp, (_, name) in zip(times.stamps_ns, rows, strict=True))
    if not images:
        raise DataError(f"{path}: no images in it")
    if images[0][0] < 0:
        raise DataError(f"{path}: times must not be below 0, got {images[0][0] * 1e-9:g} s")
    return images, unit_remark(times, str(path))


def listed_files(path: Path) -> list[tuple[str, str]]:
    """(time, file name) of every row; separators of Windows are taken.

    Raises:
        DataError: an unreadable file or row.
    """
    rows = tum_rows(path)
    if (bad := next((row for row in rows if len(row) != 2), None)) is not None:
        raise DataError(f"{path}: rows must be a time and a file name, got {shown(bad)!r}")
    return [(time, name.replace("\\", "/")) for time, name in rows]


def tum_rows(path: Path) -> list[list[str]]:
    """The words of every row. Raises DataError: an unreadable file."""
    with border(path, "unreadable"):
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: {path.stat().st_size} bytes are too many for a text file")
        text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise DataError(f"{path}: unreadable: it is not a text file (a zero byte)")
    lines = (line.replace(",", " ") for line in text.splitlines())
    return [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def shown(row: list[str]) -> str:
    """A row for an error message, not longer than a line."""
    text = " ".join(row)
    return text if len(text) <= 100 else f"{text[:100]}..."
