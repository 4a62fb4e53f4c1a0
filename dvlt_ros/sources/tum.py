"""The TUM tools' text files: a time in seconds first, then what it is the time of; rows with # are remarks."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from ..errors import DataError


def trajectory_rows(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of time in seconds, translation, quaternion xyzw; camera to world.

    Returns stamps (N,) in ns, translations (N, 3) in metres, quaternions (N, 4).

    Raises:
        DataError: an unreadable file or row.
    """
    rows = tum_rows(path)
    bad = next((row for row in rows if len(row) != 8), None)
    if bad is not None:
        raise DataError(f"{path}: a row has 8 values (time, translation, quaternion xyzw), got {' '.join(bad)!r}")
    try:
        values = np.array([[float(value) for value in row[1:]] for row in rows]).reshape(-1, 7)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    stamps = np.array([nanoseconds_of(row[0], path) for row in rows], dtype=np.int64)
    return stamps, values[:, :3], values[:, 3:]


def tum_rows(path: Path) -> list[list[str]]:
    """The words of every row. Raises DataError: an unreadable file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable: {error}") from error
    return [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def nanoseconds_of(text: str, path: Path) -> int:
    """All digits of a time in seconds. Raises DataError: it is none."""
    try:
        return int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise DataError(f"{path}: {text!r} is not a time in seconds") from error
