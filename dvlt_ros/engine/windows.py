"""Frames between their admission and their window: some wait, some stay as overlap, the newest win."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from .frames import Frame, Picture


@dataclass(frozen=True, eq=False)
class View:
    """An admitted frame with its pixels."""

    number: int  # counts up over the engine's life
    frame: Frame
    picture: Picture
    moment: int = 0  # counts up; views of several cameras that were taken together share it


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


class WindowBuffer:
    """Holds at most one window: retained views, which are never dropped, and new ones, by the moment."""

    def __init__(self) -> None:
        self._retained: tuple[Anchor, ...] = ()
        self._new: deque[tuple[View, ...]] = deque()

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self._new))

    @property
    def oldest(self) -> View | None:
        return self._new[0][0] if self._new else None

    @property
    def latest(self) -> View | None:
        """The newest view of all, retained ones included."""
        if self._new:
            return self._new[-1][-1]
        return self._retained[-1].view if self._retained else None

    def put(self, *views: View) -> None:
        """Those of one moment stay together."""
        self._new.append(views)

    def is_ready(self) -> bool:
        """One new view beside retained ones, or two to begin with: alone, a view has no parallax."""
        return self.num_waiting >= (1 if self._retained else 2)

    def is_full(self, window_size: int) -> bool:
        """Whether another moment would push one out."""
        return self._room(window_size) < (len(self._new[-1]) if self._new else 1)

    def shrink(self, window_size: int, window_overlap: int) -> list[View]:
        """Keeps what a window can hold; returns the new views that lost their place, oldest first.

        What overlaps may take more than ``window_overlap`` to be of whole moments, but leaves room for a new one.
        """
        newest = len(self._new[-1]) if self._new else 1
        self._retained = last_moments(self._retained, window_overlap, window_size - newest)
        lost: list[View] = []
        while len(self._new) > 1 and self._room(window_size) < 0:
            lost += self._new.popleft()
        return lost

    def take(self) -> Window:
        """All that is here as a window; what it needs of it again comes back through `retain`."""
        window = Window(self._retained, tuple(view for views in self._new for view in views))
        self._new.clear()
        return window

    def put_back(self, window: Window) -> None:
        """Undoes `take` before a second try."""
        moments = [tuple(views) for _, views in groupby(window.new, key=lambda view: view.moment)]
        self._new.extendleft(reversed(moments))

    def retain(self, anchors: Sequence[Anchor]) -> None:
        self._retained = tuple(anchors)

    def clear(self) -> list[View]:
        """Forgets everything; returns the new views that nobody will see."""
        lost = [view for views in self._new for view in views]
        self._new.clear()
        self._retained = ()
        return lost

    def _room(self, window_size: int) -> int:
        """How many more views a window can take."""
        return window_size - len(self._retained) - self.num_waiting


def last_moments(anchors: Sequence[Anchor], at_least: int, at_most: float = math.inf) -> tuple[Anchor, ...]:
    """The newest whole moments: as many as it takes for ``at_least`` views, but no more views than ``at_most``."""
    start = len(anchors)
    while start and len(anchors) - start < at_least:
        begin = start - 1
        while begin and anchors[begin - 1].view.moment == anchors[begin].view.moment:
            begin -= 1
        if len(anchors) - begin > at_most:
            break
        start = begin
    return tuple(anchors[start:])
