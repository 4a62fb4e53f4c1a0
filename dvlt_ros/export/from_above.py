"""Coloured points and a path as seen from above, in the colours of the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

EDGE_PX, MARGIN = 420, 0.05
CEILING = 0.85  # of the heights seen; what is higher hides the room
BACKGROUND, PATH, CAMERA, WORDS = (16, 20, 24), (255, 200, 60), (255, 60, 60), (255, 255, 255)  # RGB


@dataclass(frozen=True, eq=False)
class FromAbove:
    """A square picture of some part of the world; what is higher is drawn on top."""

    axes: np.ndarray  # (3, 3): to the right, ahead and up in the world
    low: np.ndarray  # (2,): the picture's lower left corner along the first two
    scale: float  # pixels per unit of the world
    ceiling: float  # what is higher is not drawn

    @classmethod
    def of(cls, points: np.ndarray, world_from_cam: np.ndarray) -> FromAbove:
        """Around points (N, 3), the first camera looking up in the picture."""
        up = -world_from_cam[:, :3, 1].mean(axis=0)
        up /= np.linalg.norm(up)
        right = np.cross(world_from_cam[0, :3, 2], up)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(up, right), up])
        low, high = np.quantile(points @ axes.T, [0.002, 0.998], axis=0)
        size = (high - low)[:2].max() * (1 + 2 * MARGIN)
        return cls(axes, (low + high)[:2] / 2 - size / 2, EDGE_PX / size, low[2] + CEILING * (high - low)[2])

    def draw(self, points: np.ndarray, colors: np.ndarray, path: np.ndarray) -> np.ndarray:
        """(EDGE_PX, EDGE_PX, 3) uint8 RGB of points (N, 3), colours (N, 3) uint8 and camera positions (P, 3)."""
        picture = np.full((EDGE_PX, EDGE_PX, 3), BACKGROUND, np.uint8)
        flat = points @ self.axes.T
        pixels = self._pixels(flat)
        inside = ((pixels >= 1) & (pixels < EDGE_PX - 1)).all(axis=1) & (flat[:, 2] < self.ceiling)
        order = np.flatnonzero(inside)[np.argsort(flat[inside, 2], kind="stable")]
        for dx, dy in ((1, 0), (0, 1), (0, 0)):
            picture[pixels[order, 1] + dy, pixels[order, 0] + dx] = colors[order]
        line = self._pixels(path @ self.axes.T)
        cv2.polylines(picture, [line[:, None].astype(np.int32)], False, PATH, 2, cv2.LINE_AA)
        cv2.circle(picture, tuple(line[-1].tolist()), 5, CAMERA, -1, cv2.LINE_AA)
        return picture

    def _pixels(self, flat: np.ndarray) -> np.ndarray:
        places = (flat[:, :2] - self.low) * self.scale
        return np.column_stack([places[:, 0], EDGE_PX - 1 - places[:, 1]]).astype(np.int64)


def side_by_side(pictures: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Pictures of one height, with their names."""
    named = [picture.copy() for picture in pictures]
    for picture, name in zip(named, names, strict=True):
        cv2.putText(picture, name, (10, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, WORDS, 1, cv2.LINE_AA)
    return np.concatenate(named, axis=1)
