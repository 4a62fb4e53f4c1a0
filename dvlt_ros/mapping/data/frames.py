"""Input and output of the mapping: frames of a camera, and frames with depth and pose in the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ...geometry import every, pixel_axes
from ...model import PixelMapping

RegistrationState = Literal["first", "joined", "refused"]
OUT_OF_ORDER_S = 0.5  # a stamp that goes back by less is a late frame; by more, the clock was restarted


@dataclass(frozen=True, eq=False)
class Picture:
    """The undistorted image of one frame."""

    image: np.ndarray  # (H, W, 3) uint8
    intrinsics: np.ndarray | None  # (3, 3) float64, pixels, pixel (0, 0) centred at (0.5, 0.5); None: unknown
    inside: np.ndarray | None = None  # (H, W) bool: False on a border without content; None: content everywhere
    masked: np.ndarray | None = None  # (H, W) bool: what is no part of the map, people for example; None: nothing


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a stream, decoded only when it is needed.

    ``load`` returns the pixels or raises InputError; it is called once, on the mapping thread.
    """

    stamp_ns: int  # time of exposure on the source's clock, 0 or later
    frame_id: str  # the camera's optical frame (REP-103)
    received_ns: int  # arrival in this process, steady clock
    load: Callable[[], Picture]
    camera: str = ""  # name within a rig
    name: str = ""  # of its file, where it has one of its own
    problem: str = ""  # why it cannot be used, where that is known before it is decoded; empty: it is not


class Cloud(NamedTuple):
    """Coloured points."""

    points: np.ndarray  # (N, 3) float32
    colors: np.ndarray  # (N, 3) uint8 RGB
    confidence: np.ndarray  # (N,) float32


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One frame in the map. Lengths are in the map's unit: metres only if a metric source has set it."""

    stamp_ns: int
    frame_id: str
    received_ns: int
    map_id: int  # maps with different ids have no known relation
    picture: Picture
    depth: np.ndarray  # (h, w) float32, along the optical axis; NaN where not trusted (REP-117)
    confidence: np.ndarray  # (h, w) float32, from 1 upwards
    intrinsics: np.ndarray  # (3, 3) float64, pixels of the maps depth and confidence
    map_from_cam: np.ndarray  # (4, 4) float64, rigid, optical axes; the map is x forward, z up (REP-103)
    mapping: PixelMapping  # from the picture's pixels to those of depth and confidence
    camera: str = ""  # name within a rig
    name: str = ""  # of its file, where it has one of its own
    masked: np.ndarray | None = None  # (h, w) bool: what has depth and is no part of the map; None: nothing

    @property
    def for_map(self) -> Reconstruction:
        """Without what is masked: that is published, as it may be in the robot's way, and does not enter the map."""
        if self.masked is None:
            return self
        return replace(self, depth=np.where(self.masked, np.float32(np.nan), self.depth), masked=None)

    def cloud(self, stride: int = 1) -> Cloud:
        """The trusted pixels of every ``stride``-th row and column as coloured points of the map."""
        depth = self.depth[every(stride)]
        u, v = pixel_axes(self.depth.shape, stride)
        rows, columns = np.nonzero(np.isfinite(depth))
        z = depth[rows, columns]
        u, v = u[columns], v[rows]
        (fx, _, cx), (_, fy, cy) = self.intrinsics[:2]
        points = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1).astype(np.float32)
        rotation, translation = self.map_from_cam[:3, :3].astype(np.float32), self.map_from_cam[:3, 3]
        points = points @ rotation.T + translation.astype(np.float32)
        return Cloud(points, self.colors_at(u, v), self.confidence[every(stride)][rows, columns])

    def colors_at(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(N, 3) uint8 RGB of the picture at pixels (N,) of the depth map (nearest)."""
        (sx, sy), (ox, oy) = self.mapping.scale, self.mapping.offset
        height, width = self.picture.image.shape[:2]
        columns = np.clip((u - ox) / sx, 0, width - 1).astype(np.intp)
        rows = np.clip((v - oy) / sy, 0, height - 1).astype(np.intp)
        return self.picture.image[rows, columns]


@dataclass(frozen=True)
class RegistrationReport:
    """Whether and how a window was registered to the map."""

    state: RegistrationState
    residual: float | None  # median distance of shared points, relative to their depth; None: first window, no fit
    reason: str = ""  # why the registration was refused
