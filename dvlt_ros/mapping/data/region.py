"""A part of a map that is to be deleted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...errors import ConfigError


@dataclass(frozen=True)
class Region:
    """A rectangle along the map's axes, at all heights; the map's unit."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @classmethod
    def parse(cls, text: str, name: str) -> Region:
        """Of ``x_min y_min x_max y_max``. Raises ConfigError, with the name of the parameter: it is none."""
        try:
            numbers = [float(part) for part in text.replace(",", " ").split()]
        except ValueError:
            numbers = []
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            raise ConfigError(f"{name} must be 'x_min y_min x_max y_max', got {text!r}")
        region = cls(*numbers)
        if not (region.x_min < region.x_max and region.y_min < region.y_max):
            raise ConfigError(f"{name}: x_min and y_min must be below x_max and y_max, got {text!r}")
        return region

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool of points (N, 3) in the map; NaN lies outside."""
        x, y = points[:, 0], points[:, 1]
        inside: np.ndarray = (x >= self.x_min) & (x <= self.x_max) & (y >= self.y_min) & (y <= self.y_max)
        return inside
