"""The demo's map beside the true room, from above."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch

from ..alignment import Sim3, fit_sim3
from ..export.atomic import write_atomically
from ..export.from_above import FromAbove, side_by_side
from . import DEMO_TRUTH


@dataclass(frozen=True, eq=False)
class TrueRoom:
    """What was rendered."""

    world_from_cam: np.ndarray  # (V, 4, 4) of the demo's images in their order
    picture: np.ndarray  # (h, w, 3) uint8 RGB: the room from above
    view: FromAbove  # as which it is drawn

    @classmethod
    def load(cls) -> TrueRoom:
        with np.load(DEMO_TRUTH) as truth:
            view = FromAbove(**{part.name: truth[part.name] for part in fields(FromAbove)})
            return cls(truth["world_from_cam"], truth["picture"], view)

    def world_from_map(self, map_from_cam: np.ndarray, indices: np.ndarray) -> Sim3:
        """By the cameras' positions: poses (P, 4, 4) of images with these indices (P,).

        Raises:
            AlignmentError: fewer than three, or all on one line.
        """
        truth = self.world_from_cam[indices]
        pairs = (torch.from_numpy(poses[:, :3, 3]) for poses in (map_from_cam, truth))
        return fit_sim3(*pairs, scale_estimator="symmetric")

    def beside(
        self, world_from_map: Sim3, points: np.ndarray, colors: np.ndarray, map_from_cam: np.ndarray
    ) -> np.ndarray:
        """(h, 2 w, 3) uint8 RGB: the map on the left, of points (N, 3) with colours (N, 3) uint8 and the path."""
        path = world_from_map.apply(map_from_cam[:, :3, 3])
        drawn = self.view.draw(world_from_map.apply(points.astype(np.float64)), colors, path)
        return side_by_side([drawn, self.picture], ["map", "true room"])

    def error(self, world_from_map: Sim3, map_from_cam: np.ndarray, indices: np.ndarray) -> float:
        """Distance of the cameras from where they were (RMS), as a share of what the true path spans."""
        truth = self.world_from_cam[:, :3, 3]
        off = np.linalg.norm(world_from_map.apply(map_from_cam[:, :3, 3]) - truth[indices], axis=1)
        return float(np.sqrt(np.square(off).mean()) / np.linalg.norm(np.ptp(truth, axis=0)))


def write_picture(path: Path, picture: np.ndarray) -> None:
    """(h, w, 3) uint8 RGB as a PNG."""
    write_atomically(path, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
