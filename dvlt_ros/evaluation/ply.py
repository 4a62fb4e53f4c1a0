"""Point positions of PLY files, written by this package, by scanners or by other tools."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
END = b"end_header"


@dataclass(frozen=True)
class Header:
    """Header before the vertices; other elements follow them and are not read."""

    layout: str  # one of ORDERS
    count: int  # of vertices
    columns: list[tuple[str, str]]  # (name, NumPy's type) of each property of a vertex


def read_ply(path: Path) -> np.ndarray:
    """Positions (N, 3) float64 of the vertices; their other properties are skipped.

    Raises:
        DataError: unreadable, not a PLY, cut off, without x y z or any vertex, or with a position that is not finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    head, found, body = data.partition(END)
    if not data.startswith(b"ply") or not found:
        raise DataError(f"{path}: not a PLY file")
    body = body.partition(b"\n")[2]  # the line may end in \r\n
    try:
        header = _header(head.decode("ascii").splitlines())
        points = _positions(header, body)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise DataError(f"{path}: not a readable PLY: {error}") from error
    if not len(points):
        raise DataError(f"{path}: no points")
    if not np.isfinite(points).all():
        raise DataError(f"{path}: vertex {int((~np.isfinite(points)).any(axis=1).argmax())}: not finite")
    return points


def _header(lines: list[str]) -> Header:
    layout = ""
    element = ""
    count = -1
    columns: list[tuple[str, str]] = []
    for words in map(str.split, lines[1:]):
        match words:
            case ["format", name, "1.0"] if name in ORDERS:
                layout = name
            case ["element", name, number]:
                if name != "vertex" and count < 0:
                    raise ValueError(f"the element {name} comes before the vertices")
                element, count = name, int(number) if name == "vertex" else count
            case ["property", kind, name] if element == "vertex" and kind in TYPES:
                columns.append((name, ORDERS[layout or "ascii"] + TYPES[kind]))
            case ["property", *_] if element != "vertex":
                pass
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise ValueError(f"header line '{' '.join(words)}'")
    if not layout or count < 0:
        raise ValueError("no format or no vertices in its header")
    if missing := {"x", "y", "z"} - {name for name, _ in columns}:
        raise ValueError(f"vertices without {' '.join(sorted(missing))}")
    return Header(layout, count, columns)


def _positions(header: Header, body: bytes) -> np.ndarray:
    names = [name for name, _ in header.columns]
    if header.layout == "ascii":
        rows = body.decode("ascii").splitlines()[: header.count]
        if len(rows) < header.count:
            raise ValueError(f"{header.count} vertices announced, {len(rows)} found")
        if not rows:
            return np.empty((0, 3))
        values = np.loadtxt(io.StringIO("\n".join(rows)), ndmin=2)
        if values.shape != (header.count, len(names)):
            raise ValueError(f"{header.count} vertices of {len(names)} numbers announced, {values.shape} found")
        return values[:, [names.index(axis) for axis in "xyz"]]
    vertices = np.dtype(header.columns)
    if len(body) < header.count * vertices.itemsize:
        raise ValueError(f"{header.count} vertices announced, {len(body) // vertices.itemsize} found")
    records = np.frombuffer(body, vertices, header.count)
    return np.stack([records[axis].astype(np.float64) for axis in "xyz"], axis=-1)
