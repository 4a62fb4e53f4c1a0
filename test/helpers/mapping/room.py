"""A room, a camera that walks through it, and a predictor that is right up to a gauge of its own per window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from dvlt_ros.mapping.data.frames import Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.prediction import DeviceMemoryError, WindowPrediction
from dvlt_ros.model import PixelMapping

SIZE = (24, 32)  # height, width of pictures and maps
INTRINSICS = np.array([[24.0, 0.0, 16.0], [0.0, 24.0, 12.0], [0.0, 0.0, 1.0]])
WALLS = np.array([[-3.0, -1.5, -4.0], [3.0, 1.0, 5.0]])  # lower and upper corner of the room, metres
FRAME_NS = 100_000_000
CPU = torch.device("cpu")


def turn(yaw: float, pitch: float = 0.0) -> np.ndarray:
    """world_from_cam rotation (3, 3): about the vertical (y), then about the camera's x."""
    (cy, sy), (cp, sp) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch))
    return np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])


def pose(position: Sequence[float], yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3], world_from_cam[:3, 3] = turn(yaw, pitch), position
    return world_from_cam


def walk(count: int) -> list[np.ndarray]:
    """A gentle walk: poses (4, 4)."""
    return [pose((0.04 * i - 0.3, 0.05 * np.sin(i), 0.06 * i - 1), 0.06 * i, 0.02 * np.sin(i)) for i in range(count)]


def room_depth(world_from_cam: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres along the optical axis, to the walls of the room."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pixels = np.stack([columns, rows, np.ones(SIZE)], axis=-1)
    directions = pixels @ np.linalg.inv(INTRINSICS).T @ world_from_cam[:3, :3].T
    with np.errstate(divide="ignore"):
        hits = (np.where(directions > 0, WALLS[1], WALLS[0]) - world_from_cam[:3, 3]) / directions
    return hits.min(axis=-1).astype(np.float32)


@dataclass
class FakePredictor:
    """Knows every frame's true pose by its stamp; each window has a random gauge."""

    poses: dict[int, np.ndarray]
    min_steps: int = 2
    max_steps: int = 8
    image_size: int = 28
    cut_share: float = 0.1
    has_fixed_steps: bool = False
    device: torch.device = CPU
    largest_window: int = 1000  # more views do not fit into the device's memory
    broken_stamps: set[int] = field(default_factory=set)  # views for which no camera is found
    scrambled_stamps: set[int] = field(default_factory=set)  # views whose depth is nonsense from now on
    windows: list[list[int]] = field(default_factory=list)  # view numbers of each
    steps: list[int] = field(default_factory=list)
    resets: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def reset(self) -> None:
        self.resets += 1

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        if len(views) > self.largest_window:
            raise DeviceMemoryError(f"no memory for {len(views)} views")
        self.windows.append([view.number for view in views])
        self.steps.append(num_steps)
        scale, gauge = self.rng.uniform(0.5, 2.0), pose(self.rng.normal(size=3), *self.rng.normal(size=2))
        depth, window_from_cam = [], []
        for index in decoded:
            stamp_ns = views[index].frame.stamp_ns
            found = gauge @ self.poses[stamp_ns]
            found[:3, 3] *= scale
            if stamp_ns in self.broken_stamps:
                found = np.full((4, 4), np.nan)
            map_ = room_depth(self.poses[stamp_ns]) * np.float32(scale)
            if stamp_ns in self.scrambled_stamps:
                map_ = self.rng.uniform(0.1, 10, map_.shape).astype(np.float32)
            depth.append(map_)
            window_from_cam.append(found)
        count = len(depth)
        return WindowPrediction(
            np.stack(depth),
            np.full((count, *SIZE), 2.0, np.float32),
            np.stack(window_from_cam),
            np.tile(INTRINSICS, (count, 1, 1)),
            PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)),
        )


def picture(seed: int, size: tuple[int, int] = SIZE) -> Picture:
    image = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Picture(image, INTRINSICS)
