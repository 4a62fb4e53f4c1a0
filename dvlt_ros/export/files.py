"""PLY, PCD, TUM trajectories and depth images. A file is there whole or not at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..geometry import quaternion_from_matrix
from .atomic import write_atomically

__all__ = ["write_atomically", "write_depth", "write_mesh_ply", "write_pcd", "write_ply", "write_tum"]


def write_ply(
    path: Path, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray | None = None, comment: str = ""
) -> None:
    """Binary PLY of points (N, 3) with colours (N, 3) uint8 and, if given, confidence (N,); the comment is one line."""
    _check_cloud(path, points, colors, confidence)
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    columns += [("confidence", "<f4")] if confidence is not None else []
    vertices = np.empty(len(points), columns)
    vertices["x"], vertices["y"], vertices["z"] = points.T
    vertices["red"], vertices["green"], vertices["blue"] = colors.T
    if confidence is not None:
        vertices["confidence"] = confidence
    properties = [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in columns]
    remarks = [f"comment {_plain(comment)}"] if comment else []
    head = ["ply", "format binary_little_endian 1.0", *remarks, f"element vertex {len(points)}", *properties]
    write_atomically(path, "\n".join([*head, "end_header\n"]).encode() + vertices.tobytes())


def write_mesh_ply(
    path: Path, vertices: np.ndarray, colors: np.ndarray, triangles: np.ndarray, comment: str = ""
) -> None:
    """Binary PLY of triangles (T, 3) between vertices (V, 3) with colours (V, 3) uint8; the comment is one line."""
    _check_cloud(path, vertices, colors, None)
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    corners = np.empty(len(vertices), columns)
    corners["x"], corners["y"], corners["z"] = vertices.T
    corners["red"], corners["green"], corners["blue"] = colors.T
    faces = np.empty(len(triangles), [("count", "u1"), ("vertices", "<i4", 3)])
    faces["count"], faces["vertices"] = 3, triangles
    head = [
        "ply", "format binary_little_endian 1.0", *([f"comment {_plain(comment)}"] if comment else []),
        f"element vertex {len(vertices)}", *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {color}" for color in ("red", "green", "blue")),
        f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header\n",
    ]  # fmt: skip
    write_atomically(path, "\n".join(head).encode() + corners.tobytes() + faces.tobytes())


def write_pcd(path: Path, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray) -> None:
    """Binary PCD of the same; the colour is packed into a float, as PCL does."""
    _check_cloud(path, points, colors, confidence)
    vertices = np.empty(len(points), [(name, "<f4") for name in ("x", "y", "z", "rgb", "confidence")])
    vertices["x"], vertices["y"], vertices["z"] = points.T
    red, green, blue = colors.astype(np.uint32).T
    vertices["rgb"] = (red << 16 | green << 8 | blue).astype("<u4").view("<f4")
    vertices["confidence"] = confidence
    head = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z rgb confidence\nSIZE 4 4 4 4 4\n"
        f"TYPE F F F F F\nCOUNT 1 1 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {len(points)}\nDATA binary\n"
    )
    write_atomically(path, head.encode() + vertices.tobytes())


def write_tum(path: Path, stamps_ns: Sequence[int] | np.ndarray, world_from_cam: np.ndarray, comment: str = "") -> None:
    """A trajectory as evo and the TUM tools read it: seconds, position, quaternion x y z w; poses (N, 4, 4)."""
    if world_from_cam.shape != (len(stamps_ns), 4, 4):
        raise InputError(f"{path}: {len(stamps_ns)} stamps need as many poses (4, 4), got {world_from_cam.shape}")
    if not np.isfinite(world_from_cam).all():
        raise InputError(f"{path}: a pose is not finite")
    quaternions = quaternion_from_matrix(torch.from_numpy(world_from_cam[:, :3, :3].astype(np.float64))).numpy()
    rows = [*([f"# {_plain(comment)}"] if comment else []), "# timestamp tx ty tz qx qy qz qw"]
    for stamp_ns, pose, quaternion in zip(stamps_ns, world_from_cam, quaternions, strict=True):
        seconds, nanoseconds = divmod(int(stamp_ns), 10**9)  # a float would lose the nanoseconds
        numbers = " ".join(f"{value:.9f}" for value in (*pose[:3, 3], *quaternion))
        rows.append(f"{seconds}.{nanoseconds:09d} {numbers}")
    write_atomically(path, ("\n".join(rows) + "\n").encode())


def write_depth(path: Path, depth: np.ndarray) -> None:
    """(H, W) float32 as a TIFF of the same values, NaN included: millimetres would claim a unit that may be unknown."""
    import cv2

    if depth.ndim != 2 or not depth.size or depth.dtype != np.float32:
        raise InputError(f"{path}: a depth image is (H, W) float32, got {depth.shape} {depth.dtype}")
    encoded = cv2.imencode(".tiff", depth)[1]
    write_atomically(path, encoded.tobytes())


def _plain(comment: str) -> str:
    """In ASCII, which other programs insist on: without accents, ? for other letters."""
    letters = unicodedata.normalize("NFKD", comment)
    return (
        "".join(letter for letter in letters if not unicodedata.combining(letter)).encode("ascii", "replace").decode()
    )


def _check_cloud(path: Path, points: np.ndarray, colors: np.ndarray, confidence: np.ndarray | None) -> None:
    """NumPy would stretch one colour over all points, and cut colours from 0 to 1 down to black."""
    count = len(points)
    if points.shape != (count, 3) or colors.shape != (count, 3) or colors.dtype != np.uint8:
        raise InputError(
            f"{path}: a cloud is points (N, 3) with colours (N, 3) uint8, "
            f"got {points.shape} and {colors.shape} {colors.dtype}"
        )
    if confidence is not None and confidence.shape != (count,):
        raise InputError(f"{path}: {count} points need as many confidences, got {confidence.shape}")
