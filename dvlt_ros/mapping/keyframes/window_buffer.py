"""Buffer of keyframes for the next window: new ones that wait, and views of the last window that it shares."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby

from ..data.views import Anchor, View, Window, last_frame_sets


class WindowBuffer:
    """Holds at most one window: retained views, and new ones by frame set; the oldest new ones are dropped first."""

    def __init__(self) -> None:
        self._retained: tuple[Anchor, ...] = ()
        self._new: deque[tuple[View, ...]] = deque()

    @property
    def num_waiting(self) -> int:
        """New views."""
        return sum(map(len, self._new))

    @property
    def oldest(self) -> View | None:
        """The oldest new view."""
        return self._new[0][0] if self._new else None

    @property
    def latest(self) -> View | None:
        """The newest view, retained ones included."""
        if self._new:
            return self._new[-1][-1]
        return self._retained[-1].view if self._retained else None

    def put(self, *views: View) -> None:
        """Adds the views of one frame set."""
        self._new.append(views)

    def is_ready(self) -> bool:
        """Whether there is a new view beside retained ones, or two new ones: a single view has no parallax."""
        return self.num_waiting >= (1 if self._retained else 2)

    def is_full(self, window_size: int) -> bool:
        """Whether another frame set would cause one to be dropped."""
        return self._room(window_size) < (len(self._new[-1]) if self._new else 1)

    def shrink_overlap(self, window_size: int, window_overlap: int) -> None:
        """The overlap consists of complete frame sets, so it may exceed ``window_overlap``; one new set always fits."""
        newest = len(self._new[-1]) if self._new else 1
        self._retained = last_frame_sets(self._retained, window_overlap, window_size - newest)

    def shrink(self, window_size: int, window_overlap: int) -> list[View]:
        """Drops what does not fit into a window; returns the dropped new views, oldest first."""
        self.shrink_overlap(window_size, window_overlap)
        lost: list[View] = []
        while len(self._new) > 1 and self._room(window_size) < 0:
            lost += self._new.popleft()
        return lost

    def take(self, window_size: int | None = None) -> Window:
        """Everything as one window, or the oldest frame sets that fit into one of this size, at least one.

        The caller returns the views of the next overlap through `retain`.
        """
        taken = list(self._new.popleft()) if self._new else []
        while self._new and (
            window_size is None or len(self._retained) + len(taken) + len(self._new[0]) <= window_size
        ):
            taken += self._new.popleft()
        return Window(self._retained, tuple(taken))

    def put_back(self, window: Window) -> None:
        """Undoes `take` before a second try."""
        frame_sets = [tuple(views) for _, views in groupby(window.new, key=lambda view: view.frame_set)]
        self._new.extendleft(reversed(frame_sets))

    def retain(self, anchors: Sequence[Anchor]) -> None:
        """Sets the views that the next window shares with the last one."""
        self._retained = tuple(anchors)

    def clear(self) -> list[View]:
        """Drops everything; returns the new views among it."""
        lost = [view for views in self._new for view in views]
        self._new.clear()
        self._retained = ()
        return lost

    def _room(self, window_size: int) -> int:
        """How many more views the window can take; below 0: too many."""
        return window_size - len(self._retained) - self.num_waiting
