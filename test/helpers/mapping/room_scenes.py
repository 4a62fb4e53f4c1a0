"""A room as a scene for other programs: images with exact depth and cameras, and colours that say where a point is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from room import INTRINSICS, SIZE, WALLS, room_depth, walk

from dvlt_ros.export.scenes import SceneImage, ScenePoints, Sight

FINE = 4  # pixels of an image per pixel of its sight
IMAGE_SIZE = (FINE * SIZE[0], FINE * SIZE[1])
IMAGE_INTRINSICS = np.diag([FINE, FINE, 1.0]) @ INTRINSICS
CLOSE_CELL = (slice(0, 3), slice(0, 4))  # of every sight, where nothing is trusted


def colors_at(points: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 of points (..., 3) in the room."""
    return np.round(255 * np.clip((points - WALLS[0]) / (WALLS[1] - WALLS[0]), 0, 1)).astype(np.uint8)


def world_points(depth: np.ndarray, intrinsics: np.ndarray, world_from_cam: np.ndarray) -> np.ndarray:
    """(h, w, 3) of depth (h, w)."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(intrinsics).T
    return rays * depth[..., None] @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]


def sight_of(world_from_cam: np.ndarray) -> Sight:
    depth = room_depth(world_from_cam)
    colors = colors_at(world_points(depth, INTRINSICS, world_from_cam))
    depth[CLOSE_CELL] = np.nan
    return Sight(depth, colors, INTRINSICS)


def room_image(index: int, world_from_cam: np.ndarray) -> SceneImage:
    def write(path: Path) -> None:
        picture = cv2.resize(sight_of(world_from_cam).colors, IMAGE_SIZE[::-1], interpolation=cv2.INTER_NEAREST)
        assert cv2.imwrite(str(path), picture[..., ::-1])

    return SceneImage(
        f"{index:03d}.png", IMAGE_SIZE, IMAGE_INTRINSICS, world_from_cam, write, lambda: sight_of(world_from_cam)
    )


def room_images(count: int = 4) -> list[SceneImage]:
    return [room_image(index, pose) for index, pose in enumerate(walk(count))]


def room_points(count: int = 300) -> ScenePoints:
    """On the walls."""
    points = np.random.default_rng(1).uniform(*WALLS, (count, 3))
    axes = np.arange(count) % 3
    points[np.arange(count), axes] = WALLS[np.arange(count) % 2, axes]
    return ScenePoints(points.astype(np.float32), colors_at(points))
