"""PLY, PCD, TUM trajectories and depth images. A file is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..geometry import quaternion_from_matrix


def write_ply(path: Path, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray | None = None) -> None:
    """Binary PLY of points (N, 3) with colours (N, 3) uint8 and, if given, confidence (N,)."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    columns += [("confidence", "<f4")] if confidence is not None else []
    vertices = np.empty(len(points), columns)
    vertices["x"], vertices["y"], vertices["z"] = np.asarray(points).T
    vertices["red"], vertices["green"], vertices["blue"] = np.asarray(colors).T
    if confidence is not None:
        vertices["confidence"] = confidence
    properties = [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in columns]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties, "end_header\n"]
    write_atomically(path, "\n".join(head).encode() + vertices.tobytes())


def write_pcd(path: Path, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray) -> None:
    """Binary PCD; the colour is packed into a float, as PCL does."""
    vertices = np.empty(len(points), [(name, "<f4") for name in ("x", "y", "z", "rgb", "confidence")])
    vertices["x"], vertices["y"], vertices["z"] = np.asarray(points).T
    red, green, blue = np.asarray(colors, np.uint32).T
    vertices["rgb"] = (red << 16 | green << 8 | blue).astype("<u4").view("<f4")
    vertices["confidence"] = confidence
    head = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z rgb confidence\nSIZE 4 4 4 4 4\n"
        f"TYPE F F F F F\nCOUNT 1 1 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {len(points)}\nDATA binary\n"
    )
    write_atomically(path, head.encode() + vertices.tobytes())


def write_tum(path: Path, stamps_ns: np.ndarray, world_from_cam: np.ndarray) -> None:
    """A trajectory as evo and the TUM tools read it: seconds, position, quaternion x y z w; poses (N, 4, 4)."""
    quaternions = quaternion_from_matrix(torch.from_numpy(np.asarray(world_from_cam, np.float64)[:, :3, :3])).numpy()
    rows = ["# timestamp tx ty tz qx qy qz qw"]
    for stamp_ns, pose, quaternion in zip(stamps_ns, world_from_cam, quaternions, strict=True):
        seconds, nanoseconds = divmod(int(stamp_ns), 10**9)
        numbers = " ".join(f"{value:.9f}" for value in (*pose[:3, 3], *quaternion))
        rows.append(f"{seconds}.{nanoseconds:09d} {numbers}")
    write_atomically(path, ("\n".join(rows) + "\n").encode())


def write_depth(path: Path, depth: np.ndarray) -> None:
    """(H, W) float32 as a TIFF of the same values, NaN included: millimetres would claim a unit that may be unknown."""
    import cv2

    encoded = cv2.imencode(".tiff", depth.astype(np.float32))[1]
    write_atomically(path, encoded.tobytes())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside the file and renames: whoever reads it sees the old one or the new one.

    Raises:
        InputError: it cannot be written; it names the path and the cause, and the old file is untouched.
    """
    path, unfinished = Path(path), None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            unfinished = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
