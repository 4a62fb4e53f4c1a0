"""Frames between their admission and their window: some wait, some stay as overlap, the newest win."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .frames import Frame, Picture


@dataclass(frozen=True, eq=False)
class View:
    """An admitted frame with its pixels."""

    number: int  # counts up over the engine's life
    frame: Frame
    picture: Picture
    frame_set: int = 0  # counts up; views of several cameras that were taken together share it


@dataclass(frozen=True, eq=False)
class Anchor:
    """A view that the map already holds: what later windows are joined to."""

    view: View
    depth: np.ndarray  # (h, w) float32, map unit, untrusted pixels included
    confidence: np.ndarray  # (h, w) float32
    intrinsics: np.ndarray  # (3, 3), pixels of the maps
    map_from_cam: np.ndarray  # (4, 4)


@dataclass(frozen=True, eq=False)
class Window:
    """Views for the network: those that overlap with the window before come first."""

    shared: tuple[Anchor, ...]
    new: tuple[View, ...]

    @property
    def views(self) -> tuple[View, ...]:
        return (*(anchor.view for anchor in self.shared), *self.new)


def last_frame_sets(anchors: Sequence[Anchor], at_least: int, at_most: float = math.inf) -> tuple[Anchor, ...]:
    """The newest whole frame sets: as many as it takes for ``at_least`` views, but no more views than ``at_most``."""
    start = len(anchors)
    while start and len(anchors) - start < at_least:
        begin = start - 1
        while begin and anchors[begin - 1].view.frame_set == anchors[begin].view.frame_set:
            begin -= 1
        if len(anchors) - begin > at_most:
            break
        start = begin
    return tuple(anchors[start:])
