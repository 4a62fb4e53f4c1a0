"""Keyframes between their admission and their window: some wait, some stay as overlap, the newest win."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby

from ..data.views import Anchor, View, Window, last_frame_sets


class WindowBuffer:
    """Holds at most one window: retained views, which are never dropped, and new ones, by the frame set."""

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
        """Those of one frame set stay together."""
        self._new.append(views)

    def is_ready(self) -> bool:
        """One new view beside retained ones, or two to begin with: alone, a view has no parallax."""
        return self.num_waiting >= (1 if self._retained else 2)

    def is_full(self, window_size: int) -> bool:
        """Whether another frame set would push one out."""
        return self._room(window_size) < (len(self._new[-1]) if self._new else 1)

    def shrink(self, window_size: int, window_overlap: int) -> list[View]:
        """Keeps what a window can hold; returns the new views that lost their place, oldest first.

        What overlaps may take more than ``window_overlap`` to be of whole frame sets, but leaves room for a new one.
        """
        newest = len(self._new[-1]) if self._new else 1
        self._retained = last_frame_sets(self._retained, window_overlap, window_size - newest)
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
        frame_sets = [tuple(views) for _, views in groupby(window.new, key=lambda view: view.frame_set)]
        self._new.extendleft(reversed(frame_sets))

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
