"""What goes into the engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..model import PixelMapping

SeamState = Literal["first", "joined", "refused"]


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of one frame: undistorted, RGB."""

    image: np.ndarray  # (H, W, 3) uint8
    intrinsics: np.ndarray | None  # (3, 3) float64, pixels, pixel (0, 0) centred at (0.5, 0.5); None: unknown


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a stream, not decoded before it is needed.

    ``load`` gives the pixels or raises InputError; the engine calls it once, on its own thread.
    """

    stamp_ns: int  # the source's time, above 0
    frame_id: str  # the camera's optical frame (REP-103)
    received_ns: int  # when it reached this process, steady clock
    load: Callable[[], Picture]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One frame in the map. Lengths are in the map's unit, which is unknown until a metric source sets it."""

    stamp_ns: int
    frame_id: str
    received_ns: int
    map_id: int  # another one: another map, whose coordinates have nothing to do with these
    picture: Picture
    depth: np.ndarray  # (h, w) float32, along the optical axis; NaN where not trusted (REP-117)
    confidence: np.ndarray  # (h, w) float32, from 1 upwards
    intrinsics: np.ndarray  # (3, 3) float64, pixels of the maps depth and confidence
    map_from_cam: np.ndarray  # (4, 4) float64, rigid, optical axes; the map is x forward, z up (REP-103)
    mapping: PixelMapping  # from the picture's pixels to those of the maps

    @cached_property
    def points(self) -> np.ndarray:
        """(h, w, 3) float32 in the camera's optical frame; NaN where not trusted."""
        height, width = self.depth.shape
        (fx, skew, cx), (_, fy, cy) = self.intrinsics[:2]
        rows = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - np.float32(cy)) / np.float32(fy)
        columns = (np.arange(width, dtype=np.float32)[None] + 0.5 - np.float32(cx)) / np.float32(fx)
        columns = columns - rows * np.float32(skew / fx)
        return np.stack([columns * self.depth, rows * self.depth, self.depth], axis=-1)

    @property
    def map_points(self) -> np.ndarray:
        """(h, w, 3) float32 in the map."""
        rotation, translation = self.map_from_cam[:3, :3], self.map_from_cam[:3, 3]
        return self.points @ rotation.T.astype(np.float32) + translation.astype(np.float32)

    @cached_property
    def colors(self) -> np.ndarray:
        """(h, w, 3) uint8 RGB: the picture at the maps' pixels (nearest)."""
        height, width = self.depth.shape
        (sx, sy), (ox, oy) = self.mapping.scale, self.mapping.offset
        source_height, source_width = self.picture.image.shape[:2]
        columns = np.clip((np.arange(width) + 0.5 - ox) / sx, 0, source_width - 1).astype(np.intp)
        rows = np.clip((np.arange(height) + 0.5 - oy) / sy, 0, source_height - 1).astype(np.intp)
        return self.picture.image[rows[:, None], columns[None]]


@dataclass(frozen=True)
class SeamReport:
    """How a window was joined to the map."""

    state: SeamState
    residual: float | None  # median distance of shared points, relative to their depth; None for a first window
    reason: str = ""  # why it was refused
