"""A sparse model as COLMAP 3.x and later read it: cameras, images and points3D, binary and as text.

Format: COLMAP documentation, "Output Format". World to camera, quaternions w x y z, pixel (0, 0) centred at
(0.5, 0.5). A point's track lists the images whose depth it agrees with. Its pixels are projections, not measured
corners: good for choosing neighbours and depth ranges, not for another bundle adjustment.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...geometry import quaternion_from_matrix
from .scene import SceneImage, ScenePoints, Sight

PINHOLE = 1  # COLMAP's number of the model: fx, fy, cx, cy
NO_ERROR = -1.0  # of a point whose reprojection error was not computed
SEEN_WITHIN = 0.05  # of the depth: a point this near to an image's depth is seen by it
MOST_SEEN = 4_000  # points of an image that get into tracks


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """Points that one image sees."""

    indices: np.ndarray  # (M,) of the points, ascending
    pixels: np.ndarray  # (M, 2) float64, of the image


def seen_points(points: np.ndarray, image: SceneImage, sight: Sight) -> SeenPoints:
    """Those of points (N, 3) that project into the image and lie where its depth is; `MOST_SEEN` at random."""
    cam_from_world = np.linalg.inv(image.world_from_cam)
    in_camera = points @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    ahead = np.flatnonzero(in_camera[:, 2] > 0)
    rays = in_camera[ahead] / in_camera[ahead, 2:]
    on_grid = np.floor(rays @ sight.intrinsics[:2].T)
    inside = ((on_grid >= 0) & (on_grid < sight.depth.shape[::-1])).all(axis=1)
    ahead, rays, cells = ahead[inside], rays[inside], on_grid[inside].astype(np.intp)
    depth = sight.depth[cells[:, 1], cells[:, 0]]
    seen = np.flatnonzero(np.abs(depth - in_camera[ahead, 2]) <= SEEN_WITHIN * depth)  # False beside NaN
    if len(seen) > MOST_SEEN:
        seen = np.sort(np.random.default_rng(len(seen)).choice(seen, MOST_SEEN, replace=False))
    return SeenPoints(ahead[seen], rays[seen] @ image.intrinsics[:2].T)


def write_colmap(folder: Path, images: Sequence[SceneImage], points: ScenePoints, seen: Sequence[SeenPoints]) -> None:
    """``sparse/0/`` in the folder, each file as .bin and as .txt; ids count from 1.

    Args:
        seen: of each image.
    """
    model = _Model(images, points, seen)
    sparse = folder / "sparse" / "0"
    sparse.mkdir(parents=True)
    for name, encoded in {
        "cameras.bin": model.cameras_bin(), "images.bin": model.images_bin(), "points3D.bin": model.points_bin(),
        "cameras.txt": model.cameras_txt(), "images.txt": model.images_txt(), "points3D.txt": model.points_txt(),
    }.items():  # fmt: skip
        (sparse / name).write_bytes(encoded)


class _Model:
    def __init__(self, images: Sequence[SceneImage], points: ScenePoints, seen: Sequence[SeenPoints]) -> None:
        self._images, self._points, self._seen = images, points, seen
        parameters = [(image.size, tuple(image.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist())) for image in images]
        self._cameras = {camera: index + 1 for index, camera in enumerate(dict.fromkeys(parameters))}  # shared
        self._camera_ids = [self._cameras[camera] for camera in parameters]
        cam_from_world = np.linalg.inv(np.stack([image.world_from_cam for image in images]))
        turned = quaternion_from_matrix(torch.from_numpy(cam_from_world[:, :3, :3])).numpy()[:, [3, 0, 1, 2]]
        self._poses = np.concatenate([turned, cam_from_world[:, :3, 3]], axis=1).tolist()  # w x y z, tx ty tz
        self._tracks: list[list[int]] = [[] for _ in points.points]  # image id, place among its points, ...
        for image_id, found in enumerate(seen, 1):
            for place, index in enumerate(found.indices.tolist()):
                self._tracks[index] += image_id, place

    def cameras_bin(self) -> bytes:
        rows = [
            struct.pack("<IiQQ4d", number, PINHOLE, width, height, *parameters)
            for ((height, width), parameters), number in self._cameras.items()
        ]
        return struct.pack("<Q", len(rows)) + b"".join(rows)

    def images_bin(self) -> bytes:
        rows = []
        for image_id, (image, camera_id, pose, found) in enumerate(self._rows(), 1):
            records = np.empty(len(found.indices), [("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
            records["x"], records["y"] = found.pixels.T
            records["point"] = found.indices + 1
            head = struct.pack("<I7dI", image_id, *pose, camera_id) + image.name.encode() + b"\0"
            rows.append(head + struct.pack("<Q", len(records)) + records.tobytes())
        return struct.pack("<Q", len(rows)) + b"".join(rows)

    def points_bin(self) -> bytes:
        rows = [
            struct.pack(f"<Q3d3BdQ{len(track)}I", number, *point, *color, NO_ERROR, len(track) // 2, *track)
            for number, (point, color, track) in enumerate(self._point_rows(), 1)
        ]
        return struct.pack("<Q", len(rows)) + b"".join(rows)

    def cameras_txt(self) -> bytes:
        rows = [
            f"{number} PINHOLE {width} {height} {_spaced(parameters)}"
            for ((height, width), parameters), number in self._cameras.items()
        ]
        return _text("CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", rows)

    def images_txt(self) -> bytes:
        rows = []
        for image_id, (image, camera_id, pose, found) in enumerate(self._rows(), 1):
            pixels = zip(found.pixels.tolist(), found.indices.tolist(), strict=True)
            rows.append(f"{image_id} {_spaced(pose)} {camera_id} {image.name}")
            rows.append(" ".join(f"{x:.3f} {y:.3f} {index + 1}" for (x, y), index in pixels))
        return _text("IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; below it POINTS2D[] (X, Y, ID)", rows)

    def points_txt(self) -> bytes:
        rows = [
            f"{number} {_spaced(point)} {_spaced(color)} {NO_ERROR} {_spaced(track)}".rstrip()
            for number, (point, color, track) in enumerate(self._point_rows(), 1)
        ]
        return _text("POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] (IMAGE_ID, POINT2D_IDX)", rows)

    def _rows(self) -> zip[tuple[SceneImage, int, list[float], SeenPoints]]:
        return zip(self._images, self._camera_ids, self._poses, self._seen, strict=True)

    def _point_rows(self) -> zip[tuple[list[float], list[int], list[int]]]:
        points = self._points.points.astype(np.float64).tolist()
        return zip(points, self._points.colors.tolist(), self._tracks, strict=True)


def _spaced(values: Sequence[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def _text(columns: str, rows: Sequence[str]) -> bytes:
    return "".join(f"{row}\n" for row in [f"# {columns}", *rows]).encode()
