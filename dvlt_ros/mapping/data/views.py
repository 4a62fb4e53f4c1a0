"""Admitted frames (views), views that are in the map (anchors), and windows of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...refinement import NO_LANDMARKS, Landmarks
from .frames import Frame, Picture
from .turn import UNTURNED, Turn


@dataclass(frozen=True, eq=False)
class View:
    """An admitted frame with its pixels, turned for the network."""

    number: int  # increases over the life of the mapper
    frame: Frame
    picture: Picture
    frame_set: int = 0  # increases; the same for views of several cameras that were taken together
    turn: Turn = UNTURNED


@dataclass(frozen=True, eq=False)
class Anchor:
    """A view that is in the map; later windows are registered to it. Its camera is the turned one."""

    view: View
    depth: np.ndarray  # (h, w) float32, map unit, untrusted pixels included
    confidence: np.ndarray  # (h, w) float32
    intrinsics: np.ndarray  # (3, 3), pixels of the maps
    map_from_cam: np.ndarray  # (4, 4), rigid
    landmarks: Landmarks = NO_LANDMARKS  # map unit
    hidden: np.ndarray | None = None  # (h, w) float32, map unit: depth of what is masked, NaN elsewhere

    @property
    def median_depth(self) -> float | None:
        """Map unit; None: no pixel has a depth."""
        usable = self.depth[np.isfinite(self.depth) & (self.depth > 0)]
        return float(np.median(usable)) if len(usable) else None


@dataclass(frozen=True, eq=False)
class Window:
    """Views for the network; those shared with the window before come first."""

    shared: tuple[Anchor, ...]
    new: tuple[View, ...]

    @property
    def views(self) -> tuple[View, ...]:
        return (*(anchor.view for anchor in self.shared), *self.new)


def last_frame_sets(anchors: Sequence[Anchor], at_least: int, at_most: float = math.inf) -> tuple[Anchor, ...]:
    """The newest complete frame sets with ``at_least`` views together, if possible, but at most ``at_most``."""
    start = len(anchors)
    while start and len(anchors) - start < at_least:
        begin = start - 1
        while begin and anchors[begin - 1].view.frame_set == anchors[begin].view.frame_set:
            begin -= 1
        if len(anchors) - begin > at_most:
            break
        start = begin
    return tuple(anchors[start:])
