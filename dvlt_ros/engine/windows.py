"""Frames between their admission and their window: some wait, some stay as overlap, the newest win."""

from __future__ import annotations

from collections import deque
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
    """Holds at most one window: retained views, which are never dropped, and new ones."""

    def __init__(self) -> None:
        self._retained: tuple[Anchor, ...] = ()
        self._new: deque[View] = deque()

    @property
    def num_waiting(self) -> int:
        return len(self._new)

    @property
    def oldest(self) -> View | None:
        return self._new[0] if self._new else None

    @property
    def latest(self) -> View | None:
        """The newest view of all, retained ones included."""
        if self._new:
            return self._new[-1]
        return self._retained[-1].view if self._retained else None

    def put(self, view: View) -> None:
        self._new.append(view)

    def is_ready(self) -> bool:
        """One new view beside retained ones, or two to begin with: alone, a view has no parallax."""
        return len(self._new) >= (1 if self._retained else 2)

    def room(self, window_size: int) -> int:
        """How many more new views a window can take."""
        return window_size - len(self._retained) - len(self._new)

    def shrink(self, window_size: int, window_overlap: int) -> list[View]:
        """Keeps what a window can hold; returns the new views that lost their place, oldest first."""
        self._retained = self._retained[-window_overlap:]
        return [self._new.popleft() for _ in range(-self.room(window_size))]

    def take(self) -> Window:
        """All that is here as a window; what it needs of it again comes back through `retain`."""
        window = Window(self._retained, tuple(self._new))
        self._new.clear()
        return window

    def put_back(self, window: Window) -> None:
        """Undoes `take` before a second try."""
        self._new.extendleft(reversed(window.new))

    def retain(self, anchors: Sequence[Anchor]) -> None:
        self._retained = tuple(anchors)

    def clear(self) -> list[View]:
        """Forgets everything; returns the new views that nobody will see."""
        lost = list(self._new)
        self._new.clear()
        self._retained = ()
        return lost
