"""Localization: where the camera is in a saved map that stays as it is.

A sighting is a verified loop closure to a saved place: it gives the pose and the unit of the visual map in the saved
one. The first is believed when a second one from another place along the way agrees, or a pose hint. From then on the
visual map carries the pose from window to window, and each sighting that agrees corrects it; where two in a row
contradict it and agree with each other, the camera has been carried.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch

from ...alignment import Sim3, similarity_between
from ...geometry import rotation_angle
from ..pose_graph.config import LoopClosure
from ..pose_graph.noise import weight_left
from ..pose_graph.submap_graph import CONFIG
from ..sensors.odometry import interpolate

REMEMBERED = 4  # sightings that wait for one that agrees
NEAR = 0.15  # of the depth; sightings of one place differ by less
DRIFT = 0.05  # of the way between two sightings
MAX_TURN_RAD = math.radians(5)
MAX_SCALE = 1.15  # factor between the units of two sightings that agree
GAIN = 0.5  # of a usual sighting: one errs by centimetres, the chain of windows since the last one by more


@dataclass(frozen=True, eq=False)
class Sighting:
    """A saved place that has been recognized and verified."""

    loop: LoopClosure  # from the saved submap to the one of the visual map
    visual_from_cam: np.ndarray  # (4, 4), reference camera of the newer submap
    depth: float  # its median, unit of the visual map
    stamp_ns: int
    is_expected: bool = False  # a pose hint agrees

    @property
    def saved_from_visual(self) -> Sim3:
        return self.loop.first_from_second

    @property
    def saved_from_cam(self) -> np.ndarray:
        """(4, 4)."""
        return self.saved_from_visual.apply_to_poses(self.visual_from_cam)

    @property
    def weight(self) -> float:
        """Against a usual sighting's, 0..1: its joint window's tracks may tell it less exactly."""
        return weight_left(CONFIG, self.loop.residual, self.loop.motion)

    def agrees(self, saved_from_visual: Sim3, way: float) -> bool:
        """Whether this similarity puts the camera where this sighting does.

        Args:
            way: driven since the similarity was right, unit of the visual map.
        """
        other, scale = saved_from_visual.apply_to_poses(self.visual_from_cam), self.saved_from_visual.scale.item()
        away = float(np.linalg.norm(other[:3, 3] - self.saved_from_cam[:3, 3])) / scale
        turned = float(rotation_angle(torch.from_numpy(other[:3, :3].T @ self.saved_from_cam[:3, :3])))
        factor = abs(math.log(saved_from_visual.scale.item() / scale))
        return away <= NEAR * self.depth + DRIFT * way and turned <= MAX_TURN_RAD and factor <= math.log(MAX_SCALE)


class Localizer:
    """Decides which sightings are believed. Not thread-safe; any thread may read the attributes without underscore."""

    def __init__(self) -> None:
        self.saved_id: int | None = None  # of the saved map; None: none is loaded
        self.num_sightings = 0  # that were believed
        self.latest: Sighting | None = None  # the newest one that was believed
        self._doubted: deque[Sighting] = deque(maxlen=REMEMBERED)  # of the current visual map

    def load(self, saved_id: int) -> None:
        """A saved map, in which the camera has not been found yet."""
        self.saved_id, self.num_sightings = saved_id, 0
        self.begin()

    def begin(self) -> None:
        """Another visual map begins: sightings of the one before say nothing about it."""
        self.latest = None
        self._doubted.clear()

    @property
    def has_doubts(self) -> bool:
        """Whether a place was recognized that no second one has confirmed yet."""
        return bool(self._doubted)

    def see(self, sighting: Sighting, saved_from_visual: Sim3 | None) -> Sim3 | None:
        """The pose of the visual map after this sighting; None: it changes nothing yet.

        Args:
            saved_from_visual: as it is known before; None: the camera has not been found.
        """
        if saved_from_visual is not None and sighting.agrees(saved_from_visual, self._way_to(sighting)):
            return self._believe(sighting, between(saved_from_visual, sighting))
        if sighting.is_expected or any(self._confirms(sighting, doubted) for doubted in self._doubted):
            return self._believe(sighting, sighting.saved_from_visual)
        self._doubted.append(sighting)
        return None

    def _confirms(self, sighting: Sighting, doubted: Sighting) -> bool:
        """Two views of one place may be fooled alike: they count once."""
        way = float(np.linalg.norm(sighting.visual_from_cam[:3, 3] - doubted.visual_from_cam[:3, 3]))
        is_another = sighting.loop.second != doubted.loop.second and sighting.loop.first != doubted.loop.first
        return is_another and sighting.agrees(doubted.saved_from_visual, way)

    def _way_to(self, sighting: Sighting) -> float:
        if self.latest is None:
            return 0.0
        return float(np.linalg.norm(sighting.visual_from_cam[:3, 3] - self.latest.visual_from_cam[:3, 3]))

    def _believe(self, sighting: Sighting, saved_from_visual: Sim3) -> Sim3:
        self.latest = sighting
        self.num_sightings += 1
        self._doubted.clear()
        return saved_from_visual


def between(saved_from_visual: Sim3, sighting: Sighting) -> Sim3:
    """saved_from_visual with its camera moved towards the sighting's: by `GAIN`, and by less at less weight."""
    cam, weight = sighting.visual_from_cam, sighting.weight
    gain = GAIN * weight / (GAIN * weight + 1 - GAIN)
    moved = interpolate(saved_from_visual.apply_to_poses(cam), sighting.saved_from_cam, gain)
    scales = saved_from_visual.scale.item(), sighting.saved_from_visual.scale.item()
    return similarity_between(moved, cam, scales[0] ** (1 - gain) * scales[1] ** gain)
