"""glTF (.glb): a coloured cloud, and its cameras as frusta along their path, for any 3D viewer."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .files import write_atomically

GLTF_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])  # half a turn about x: glTF's y is up and its cameras look along -z
GLTF_FROM_ROS = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])  # x forward, z up
EDGES = np.array([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)])  # of a frustum's five corners
EDGE_WIDTH = 0.03  # of the frustum's depth; lines would be one pixel wide in most viewers
PATH_WIDTH = 0.05
FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125  # glTF's component types
POINTS, TRIANGLES = 0, 4  # and its primitives


@dataclass(frozen=True, eq=False)
class FrustumCameras:
    """N cameras that are drawn as frusta."""

    world_from_cam: np.ndarray  # (N, 4, 4), optical axes
    intrinsics: np.ndarray  # (N, 3, 3), pixels
    size: tuple[int, int]  # (height, width) in pixels


def write_glb(path: Path, points: np.ndarray, colors: np.ndarray, cameras: FrustumCameras, frustum_size: float) -> None:
    """Nodes ``points`` and ``camera_overlay``, without lighting, turned to glTF's axes.

    Args:
        points: (N, 3) of a world with OpenCV axes.
        colors: (N, 3) uint8.
        frustum_size: depth of the frusta in the world's unit; 0 leaves cameras and path out.

    Raises:
        InputError: no points, arrays that do not belong together, or the file cannot be written.
    """
    count = len(points)
    if not count or points.shape != (count, 3) or colors.shape != (count, 3) or colors.dtype != np.uint8:
        raise InputError(
            f"{path}: a cloud is points (N, 3), N > 0, with colours (N, 3) uint8, "
            f"got {points.shape} and {colors.shape} {colors.dtype}"
        )
    if not np.isfinite(points).all() or not np.isfinite(cameras.world_from_cam).all():
        raise InputError(f"{path}: a point or a camera is not finite")
    document = _Document()
    document.add_mesh("points", points @ GLTF_FROM_OPENCV.T, colors)
    if frustum_size > 0:
        vertices, shades, triangles = camera_overlay(cameras, frustum_size)
        document.add_mesh("camera_overlay", vertices @ GLTF_FROM_OPENCV.T, shades, triangles)
    write_atomically(path, document.encoded())


def write_mesh_glb(path: Path, vertices: np.ndarray, colors: np.ndarray, triangles: np.ndarray) -> None:
    """One node ``mesh``, without lighting, of a world whose z points up (REP-103): vertices (V, 3), triangles (T, 3).

    Raises:
        InputError: no triangles, or the file cannot be written.
    """
    if not len(triangles) or colors.shape != vertices.shape or colors.dtype != np.uint8:
        raise InputError(
            f"{path}: a mesh is triangles (T, 3), T > 0, between vertices (V, 3) with colours (V, 3) uint8, "
            f"got {triangles.shape}, {vertices.shape} and {colors.shape} {colors.dtype}"
        )
    document = _Document()
    document.add_mesh("mesh", vertices @ GLTF_FROM_ROS.T, colors, triangles)
    write_atomically(path, document.encoded())


def frustum_corners(cameras: FrustumCameras, depth: float) -> np.ndarray:
    """(N, 5, 3), world: each camera's centre and the corners of its image at that depth."""
    height, width = cameras.size
    corners = np.array([[0.0, 0.0, 1.0], [width, 0.0, 1.0], [width, height, 1.0], [0.0, height, 1.0]])
    rays_cam = corners @ np.linalg.inv(cameras.intrinsics).transpose(0, 2, 1)  # (N, 4, 3), z = 1
    rotations, centers = cameras.world_from_cam[:, :3, :3], cameras.world_from_cam[:, None, :3, 3]
    return np.concatenate([centers, depth * rays_cam @ rotations.transpose(0, 2, 1) + centers], axis=1)


def camera_overlay(cameras: FrustumCameras, frustum_size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frusta and the path between them as vertices (V, 3), colours (V, 3) uint8 and triangles (T, 3)."""
    corners = frustum_corners(cameras, frustum_size)
    shades = path_colors(len(corners))
    centers = corners[:, 0]
    edges = corners[:, EDGES].reshape(-1, 2, 3)
    edge_vertices, edge_triangles = _rods(edges[:, 0], edges[:, 1], EDGE_WIDTH * frustum_size)
    path_vertices, path_triangles = _rods(centers[:-1], centers[1:], PATH_WIDTH * frustum_size)
    colors = np.concatenate([np.repeat(shades, 6 * len(EDGES), axis=0), np.repeat(shades[1:], 6, axis=0)])
    return (
        np.concatenate([edge_vertices, path_vertices]),
        colors,
        np.concatenate([edge_triangles, path_triangles + len(edge_vertices)]),
    )


def path_colors(count: int) -> np.ndarray:
    """(N, 3) uint8 from the first camera's blue to the last one's red."""
    import matplotlib

    shades: np.ndarray = matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, count), bytes=True)[:, :3]
    return shades


def _rods(starts: np.ndarray, ends: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Three-sided prisms from (M, 3) to (M, 3): vertices (6 M, 3) and triangles (6 M, 3), without caps."""
    along = ends - starts
    helper = np.eye(3)[np.abs(along).argmin(axis=1)]  # the axis that is furthest from parallel
    across = np.cross(along, helper)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    up = np.cross(along, across)
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-12)
    angles = np.arange(3) * 2 * np.pi / 3
    ring = width / 2 * (np.cos(angles)[:, None] * across[:, None] + np.sin(angles)[:, None] * up[:, None])
    vertices = np.stack([starts[:, None] + ring, ends[:, None] + ring], axis=1).reshape(-1, 3)
    sides = np.array([[i, (i + 1) % 3, 3 + i, 3 + i, (i + 1) % 3, 3 + (i + 1) % 3] for i in range(3)]).reshape(-1, 3)
    triangles = 6 * np.arange(len(starts))[:, None, None] + sides
    return vertices, triangles.reshape(-1, 3)


def _linear_colors(colors: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) uint8 -> (N, 4) uint16 of linear light, as glTF wants them; 8 bits would lose the shadows."""
    srgb = colors / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.pad(np.round(65535 * linear).astype("<u2"), ((0, 0), (0, 1)), constant_values=65535)


class _Document:
    """A glTF 2.0 document that grows mesh by mesh."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._length = 0
        self._json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "dvlt_ros"},
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "materials": [
                {
                    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                    "doubleSided": True,
                    "extensions": {"KHR_materials_unlit": {}},
                }
            ],
            "accessors": [],
            "bufferViews": [],
        }

    def add_mesh(
        self, name: str, vertices: np.ndarray, colors: np.ndarray, triangles: np.ndarray | None = None
    ) -> None:
        """Vertices (V, 3) with colours (V, 3) uint8; without triangles (T, 3) they are points."""
        positions = vertices.astype("<f4")
        attributes = {
            "POSITION": self._add(
                positions, FLOAT, "VEC3", min=positions.min(axis=0).tolist(), max=positions.max(axis=0).tolist()
            ),
            "COLOR_0": self._add(_linear_colors(colors), UNSIGNED_SHORT, "VEC4", normalized=True),
        }
        primitive: dict[str, Any] = {"attributes": attributes, "material": 0, "mode": POINTS}
        if triangles is not None:
            indices = self._add(triangles.reshape(-1).astype("<u4"), UNSIGNED_INT, "SCALAR")
            primitive |= {"indices": indices, "mode": TRIANGLES}
        self._json["meshes"].append({"name": name, "primitives": [primitive]})
        self._json["scenes"][0]["nodes"].append(len(self._json["nodes"]))
        self._json["nodes"].append({"name": name, "mesh": len(self._json["meshes"]) - 1})

    def encoded(self) -> bytes:
        """The container: a header, the document and the buffer, each padded to 4 bytes."""
        self._json["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(self._json, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", self._length, b"BIN\0")
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body) + self._length) + body + b"".join(self._chunks)

    def _add(self, values: np.ndarray, component: int, kind: str, **more: Any) -> int:
        data = values.tobytes()  # all of these types fill 4 bytes
        self._json["bufferViews"].append({"buffer": 0, "byteOffset": self._length, "byteLength": len(data)})
        view = len(self._json["bufferViews"]) - 1
        self._json["accessors"].append(
            {"bufferView": view, "componentType": component, "count": len(values), "type": kind, **more}
        )
        self._chunks.append(data)
        self._length += len(data)
        return len(self._json["accessors"]) - 1
