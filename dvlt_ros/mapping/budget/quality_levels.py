"""Quality levels for when K alone cannot keep the budget: smaller windows first, then a lower resolution."""

from __future__ import annotations

from dataclasses import dataclass

from ...model.config import PATCH_SIZE
from .limits import Limits

MIN_IMAGE_SIZE = 56  # pixels
WINDOW_STEP = 0.75  # ratio of the window sizes of neighbouring levels
MEMORY_PATIENCE = 500  # windows after an out-of-memory error before the level above is tried again


@dataclass(frozen=True)
class QualityLevel:
    """Window size and resolution."""

    window_size: int
    image_size: int  # longest edge, pixels

    def __str__(self) -> str:
        return f"{self.window_size} frames at {self.image_size} pixels"


@dataclass(frozen=True)
class Change:
    """A change of the quality level."""

    before: QualityLevel
    after: QualityLevel
    reason: str

    def __str__(self) -> str:
        return f"from {self.before} to {self.after}: {self.reason}"


def levels_within(limits: Limits) -> tuple[QualityLevel, ...]:
    """All levels, from full window and resolution to the cheapest."""
    sizes, edges = [limits.window_size], [limits.image_size]
    while sizes[-1] > limits.min_window:
        sizes.append(max(limits.min_window, int(WINDOW_STEP * sizes[-1])))
    for sixths in () if limits.has_fixed_image_size else (5, 4, 3):
        edge = PATCH_SIZE * round(limits.image_size * sixths / 6 / PATCH_SIZE)
        if MIN_IMAGE_SIZE <= edge < edges[-1]:
            edges.append(edge)
    return tuple(
        [QualityLevel(size, limits.image_size) for size in sizes]
        + [QualityLevel(sizes[-1], edge) for edge in edges[1:]]
    )


class QualityLevels:
    """The present level, and the highest one that the device's memory allows. ``str`` is a sentence for people."""

    def __init__(self, limits: Limits) -> None:
        self.levels = levels_within(limits)
        self.index = 0
        self.top = 0  # levels above this one ran out of memory
        self.last_change: Change | None = None
        self.num_changes = 0
        self._memory_calm = 0  # windows since the last change of `top`
        self._memory_patience = MEMORY_PATIENCE
        self._memory_tried = False  # whether a level was tried again since the last such error

    @property
    def level(self) -> QualityLevel:
        """The present one."""
        return self.levels[self.index]

    def __str__(self) -> str:
        place = f"level {self.index + 1} of {len(self.levels)}, {self.level}"
        return place if self.last_change is None else f"{place}; last change: {self.last_change}"

    def move(self, index: int, reason: str) -> None:
        """To another level; ``reason`` is for people."""
        before = self.level
        self.index = index
        self._note(before, reason)

    def renew(self, limits: Limits) -> None:
        """Takes other limits; if the levels change, starts again at the first one."""
        levels = levels_within(limits)
        if levels != self.levels:
            before = self.level
            self.levels = levels
            self.index = self.top = 0
            self._note(before, "other limits")

    def out_of_memory(self, num_views: int) -> bool:
        """Moves down after a window of so many views ran out of memory; False: there is no smaller level."""
        below = [
            i for i, level in enumerate(self.levels)
            if i > self.index and (level.window_size < num_views or level.image_size < self.level.image_size)
        ]  # fmt: skip
        if not below:
            return False
        if self._memory_tried:
            self._memory_patience *= 2
        self.top = below[0]
        self._memory_calm = 0
        self._memory_tried = False
        self.move(below[0], f"out of memory with {num_views} views")
        return True

    def forgive_memory(self) -> None:
        """Counts a window that fitted; after `_memory_patience` of them allows one more level."""
        if self.top:
            self._memory_calm += 1
            if self._memory_calm >= self._memory_patience:
                self.top -= 1
                self._memory_calm = 0
                self._memory_tried = True

    def _note(self, before: QualityLevel, reason: str) -> None:
        self.last_change = Change(before, self.level, reason)
        self.num_changes += 1
