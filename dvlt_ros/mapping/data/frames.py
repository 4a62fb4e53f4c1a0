"""What goes into the engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ...geometry import every, pixel_axes
from ...model import PixelMapping

RegistrationState = Literal["first", "joined", "refused"]
OUT_OF_ORDER_S = 0.5  # a stamp that goes back by less comes late, one by more is of another run of the clock


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
    camera: str = ""  # which one of a rig


class Cloud(NamedTuple):
    """Points with colour."""

    points: np.ndarray  # (N, 3) float32
    colors: np.ndarray  # (N, 3) uint8 RGB
    confidence: np.ndarray  # (N,) float32


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
    camera: str = ""  # which one of a rig

    def cloud(self, stride: int = 1) -> Cloud:
        """The trusted pixels of every ``stride``-th row and column as coloured points of the map."""
        depth, (u, v) = self.depth[every(stride)], pixel_axes(self.depth.shape, stride)
        rows, columns = np.nonzero(np.isfinite(depth))
        z, u, v = depth[rows, columns], u[columns], v[rows]
        (fx, _, cx), (_, fy, cy) = self.intrinsics[:2]
        points = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1).astype(np.float32)
        rotation, translation = self.map_from_cam[:3, :3].astype(np.float32), self.map_from_cam[:3, 3]
        points = points @ rotation.T + translation.astype(np.float32)
        return Cloud(points, self._colors(u, v), self.confidence[every(stride)][rows, columns])

    def _colors(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(N, 3) uint8 RGB of the picture at pixels (N,) of the maps (nearest)."""
        (sx, sy), (ox, oy) = self.mapping.scale, self.mapping.offset
        height, width = self.picture.image.shape[:2]
        columns = np.clip((u - ox) / sx, 0, width - 1).astype(np.intp)
        rows = np.clip((v - oy) / sy, 0, height - 1).astype(np.intp)
        return self.picture.image[rows, columns]


@dataclass(frozen=True)
class RegistrationReport:
    """How a window was joined to the map."""

    state: RegistrationState
    residual: float | None  # median distance of shared points, relative to their depth; None for a first window
    reason: str = ""  # why it was refused
