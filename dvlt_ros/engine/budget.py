"""K from the latency budget: the largest one whose 99.5th percentile still fits, learned while windows run.

    plan = controller.plan(...)       # K of the next window
    controller.observe(...)           # what it took; moves along the ladder
    controller.rung                   # window size and resolution of the next window

Where K alone cannot keep the budget, the window shrinks, then the network's resolution; both come back with
hysteresis. There is no clock in here: times are arguments.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from ..errors import ConfigError
from ..model.config import PATCH_SIZE
from .latency import LEARNING, Estimate, LatencyModel

REMEMBERED_OWN = 9  # windows whose own costs are remembered: a new level counts after five
REMEMBERED_SPREAD = 41  # windows over which the relative spread of these costs is taken
FIRST_OWN_SPREAD = 0.15  # what it begins with

MIN_WINDOW, MIN_IMAGE_SIZE = 2, 56
WINDOW_STEP = 0.75  # sizes of neighbouring rungs
LOOKAHEAD = 3  # windows for which K must be good if it stays
HELPS = 0.95  # a rung below must be cheaper by this
HEADROOM = 0.85  # part of the budget that k_min may take on the rung above before it is tried
HOPEFUL, HOPE = 0.95, 0.1  # the same without its doubt, and how much less such a window counts
PATIENCE, MAX_PATIENCE, PROBATION = 8, 640, 200  # windows
MEMORY_PATIENCE = 500  # windows after which one rung above an out-of-memory error is tried again


@dataclass(frozen=True)
class Limits:
    """What configuration, checkpoint and cameras allow together; budget_ms 0 stands for none."""

    budget_ms: float  # from a frame's arrival to its publication; 0: always k_max
    k_min: int
    k_max: int
    window_size: int
    window_overlap: int
    image_size: int  # network's longest edge, pixels
    min_window: int = MIN_WINDOW  # views; windows do not shrink below

    def __post_init__(self) -> None:
        if not 0 <= self.budget_ms < math.inf:
            raise ConfigError(f"budget_ms must be 0 or more and finite, got {self.budget_ms}")
        if not 1 <= self.k_min <= self.k_max:
            raise ConfigError(f"k_min and k_max must be 1 or more and in order, got {self.k_min} and {self.k_max}")
        if not 1 <= self.window_overlap < self.window_size:
            raise ConfigError(
                f"window_overlap must be from 1 to below window_size {self.window_size}, got {self.window_overlap}"
            )
        if self.window_size < self.min_window:
            raise ConfigError(f"window_size must be at least {self.min_window}, got {self.window_size}")
        if self.image_size < PATCH_SIZE or self.image_size % PATCH_SIZE:
            raise ConfigError(f"image_size must be a positive multiple of {PATCH_SIZE}, got {self.image_size}")


@dataclass(frozen=True)
class Rung:
    """One step of the ladder."""

    window_size: int
    image_size: int  # pixels

    def __str__(self) -> str:
        return f"{self.window_size} frames at {self.image_size} pixels"


@dataclass(frozen=True)
class Change:
    """A move along the ladder."""

    before: Rung
    after: Rung
    reason: str

    def __str__(self) -> str:
        return f"from {self.before} to {self.after}: {self.reason}"


@dataclass(frozen=True)
class Plan:
    """K of a window; latency of its oldest new frame, from arrival to publication."""

    num_steps: int
    predicted_ms: float | None  # median; None before anything was measured
    percentile_ms: float | None  # 99.5th
    fits: bool  # the percentile keeps the budget, or nothing is known against it


@dataclass(frozen=True)
class Queue:
    """What a window starts with."""

    num_views: int
    num_new: int
    waited_ms: float  # of the oldest new frame


def ladder(limits: Limits) -> tuple[Rung, ...]:
    """Full window and resolution first; each later rung is cheaper than the one before."""
    sizes, edges = [limits.window_size], [limits.image_size]
    while sizes[-1] > limits.min_window:
        sizes.append(max(limits.min_window, int(WINDOW_STEP * sizes[-1])))
    for sixths in (5, 4, 3):
        edge = PATCH_SIZE * round(limits.image_size * sixths / 6 / PATCH_SIZE)
        if MIN_IMAGE_SIZE <= edge < edges[-1]:
            edges.append(edge)
    return tuple([Rung(size, limits.image_size) for size in sizes] + [Rung(sizes[-1], edge) for edge in edges[1:]])


class BudgetController:
    """Chooses K and the rung of the ladder. Not thread-safe: it belongs to the thread that runs the windows."""

    def __init__(self, limits: Limits) -> None:
        self.last_change: Change | None = None
        self.num_changes = 0
        self._limits = limits
        self._rungs = ladder(limits)
        self._index = 0
        self._model = LatencyModel()
        self._recent_own_ms: deque[float] = deque(maxlen=REMEMBERED_OWN)
        self._own_spread: deque[float] = deque(maxlen=REMEMBERED_SPREAD)
        self._own_ms, self._own_deviation = 0.0, 0.0  # of the windows above; unused before there is one
        self._frame_interval_ms: float | None = None
        self._calm = 0.0  # windows in a row after which the rung above would have done
        self._patience = PATIENCE  # calm windows before it is tried; doubles when that was wrong
        self._tried = PROBATION  # windows since it was last tried
        self._known_loads = 0
        self._memory_index = 0  # rungs above this one ran out of memory
        self._memory_calm, self._memory_patience = 0, MEMORY_PATIENCE
        self._memory_tried = False  # whether a rung was tried again since the last such error

    @property
    def rung(self) -> Rung:
        """Window size and resolution of the next window."""
        return self._rungs[self._index]

    @property
    def ladder(self) -> str:
        """Where the ladder stands and why, for people."""
        place = f"rung {self._index + 1} of {len(self._rungs)}, {self.rung}"
        return place if self.last_change is None else f"{place}; last change: {self.last_change}"

    def plan(self, num_views: int, num_new: int, waited_ms: float, frame_interval_ms: float | None) -> Plan:
        """K of a window that starts now, whose oldest new frame arrived ``waited_ms`` ago."""
        self._frame_interval_ms = frame_interval_ms or None  # frames at one instant tell nothing of the next
        limits, start = self._limits, Queue(num_views, num_new, waited_ms)
        if not self._model.num_windows:
            return Plan(limits.k_min if limits.budget_ms else limits.k_max, None, None, True)
        num_steps = limits.k_max
        while limits.budget_ms and num_steps > limits.k_min and not self._lasts(num_steps, start):
            num_steps -= 1
        estimate = self._model.predict(num_views, self.rung.image_size, num_steps)
        percentile_ms = self._percentile_ms(waited_ms, estimate)
        fits = not limits.budget_ms or percentile_ms <= limits.budget_ms
        return Plan(num_steps, waited_ms + estimate.median_ms + self._own_ms, percentile_ms, fits)

    def steps_apart(self, num_views: int, waited_ms: float) -> int | None:
        """K of a window that is not the stream's, after which a full one with k_min still keeps the budget.

        None: there is no such K, or not enough is known. ``waited_ms``: of the oldest new frame.
        """
        limits, rung = self._limits, self.rung
        if not limits.budget_ms:
            return limits.k_max
        if self._model.num_windows < LEARNING:
            return None
        following = self._model.predict(rung.window_size, rung.image_size, limits.k_min)
        for num_steps in range(limits.k_max, limits.k_min - 1, -1):
            apart = self._model.predict(num_views, rung.image_size, num_steps)
            apart_ms = apart.median_ms + apart.margin_ms(self._model.quantile)
            if self._percentile_ms(waited_ms + apart_ms, following) <= limits.budget_ms:
                return num_steps
        return None

    def observe(self, num_views: int, num_steps: int, image_size: int, window_ms: float, own_ms: float) -> None:
        """What a window took, and what followed until its publication; then the ladder may be moved."""
        self._model.observe(num_views, image_size, num_steps, max(window_ms, 1e-3))
        self._learn_own(own_ms)
        self._forgive_memory()
        self._tried += 1
        if not self._limits.budget_ms:
            if self._index > self._memory_index:
                self._move(self._memory_index, "no latency budget")
        elif self._model.is_settled and self._model.num_windows >= LEARNING:
            self._climb()

    def expect(self, num_views: int, num_steps: int, image_size: int, window_ms: float) -> None:
        """What such a window took before the stream began; until there is more, the estimate rests on the last one."""
        self._model = LatencyModel()
        self._model.observe(num_views, image_size, num_steps, max(window_ms, 1e-3))

    def out_of_memory(self, num_views: int) -> bool:
        """A window of so many views did not fit on the device; False: there is nothing smaller."""
        below = [
            i for i, rung in enumerate(self._rungs)
            if i > self._index and (rung.window_size < num_views or rung.image_size < self.rung.image_size)
        ]  # fmt: skip
        if not below:
            return False
        if self._memory_tried:
            self._memory_patience *= 2
        self._memory_index, self._memory_calm, self._memory_tried = below[0], 0, False
        self._move(below[0], f"out of memory with {num_views} views")
        return True

    def update(self, limits: Limits) -> None:
        """Takes effect with the next window. What was learned of the device stays."""
        rungs = ladder(limits)
        if rungs != self._rungs:
            before, self._rungs, self._index, self._memory_index = self.rung, rungs, 0, 0
            self.last_change = Change(before, self.rung, "other limits")
            self.num_changes += 1
        self._limits, self._calm, self._patience = limits, 0.0, PATIENCE

    def _climb(self) -> None:
        """At most one rung per window, down at once and up with patience."""
        if self._model.num_loads > self._known_loads:  # what was tried under another load says nothing
            self._known_loads, self._patience = self._model.num_loads, PATIENCE
        k_min, budget_ms = self._limits.k_min, self._limits.budget_ms
        worst_ms = self._steady_ms(self._index, doubted=False)
        if worst_ms > budget_ms:
            below = range(self._index + 1, len(self._rungs))
            helping = [i for i in below if self._steady_ms(i, doubted=False) < HELPS * worst_ms]
            if helping:
                if self._tried < PROBATION:
                    self._patience = min(2 * self._patience, MAX_PATIENCE)
                self._calm = 0.0
                self._move(helping[0], f"{k_min} steps would take {worst_ms:.0f} of {budget_ms:.0f} ms")
        elif self._index > self._memory_index:
            above_ms = self._steady_ms(self._index - 1, doubted=False)
            if self._steady_ms(self._index - 1, doubted=True) <= HEADROOM * budget_ms:
                self._calm += 1.0
            else:  # what stays in doubt is found out, some day
                self._calm = self._calm + HOPE if above_ms <= HOPEFUL * budget_ms else 0.0
            if self._calm >= self._patience:
                self._calm, self._tried = 0.0, 0
                self._move(self._index - 1, f"{k_min} steps would take only {above_ms:.0f} of {budget_ms:.0f} ms")

    def _learn_own(self, own_ms: float) -> None:
        """Median and relative deviation, both robust. One window says nothing of the spread."""
        known = bool(self._recent_own_ms)
        self._own_spread.append(abs(math.log((own_ms + 1) / (self._own_ms + 1))) if known else FIRST_OWN_SPREAD)
        self._recent_own_ms.append(own_ms)
        self._own_ms, self._own_deviation = median(self._recent_own_ms), 1.4826 * median(self._own_spread)

    def _forgive_memory(self) -> None:
        if self._memory_index:
            self._memory_calm += 1
            if self._memory_calm >= self._memory_patience:
                self._memory_index, self._memory_calm, self._memory_tried = self._memory_index - 1, 0, True

    def _move(self, index: int, reason: str) -> None:
        self.last_change = Change(self.rung, self._rungs[index], reason)
        self.num_changes += 1
        self._index = index

    def _lasts(self, num_steps: int, start: Queue) -> bool:
        """Whether this window and the next ones keep the budget with this K, and lose no frames."""
        rung, supply_ms = self.rung, math.inf
        if self._frame_interval_ms is not None:
            supply_ms = (rung.window_size - self._overlap(rung)) * self._frame_interval_ms
        return all(
            estimate.median_ms <= supply_ms and self._percentile_ms(queue.waited_ms, estimate) <= self._limits.budget_ms
            for queue, estimate in self._windows_ahead(rung, num_steps, start, LOOKAHEAD)
        ) and self._leaves_room(num_steps, start)

    def _leaves_room(self, num_steps: int, start: Queue) -> bool:
        """Whether k_min still does for the next window should this one take as long as it may."""
        limits, rung = self._limits, self.rung
        ahead = [queue for queue, _ in self._windows_ahead(rung, num_steps, start, 2, self._model.quantile)]
        return all(
            self._percentile_ms(queue.waited_ms, self._model.predict(queue.num_views, rung.image_size, limits.k_min))
            <= limits.budget_ms
            for queue in ahead[1:]
        )

    def _steady_ms(self, index: int, doubted: bool) -> float:
        """The longest latency (99.5th percentile) with k_min and the present frame rate on a rung."""
        rung, k_min, interval_ms = self._rungs[index], self._limits.k_min, self._frame_interval_ms
        start = Queue(self._overlap(rung) + 1, 1, 0.0)
        alone_ms = self._model.predict(start.num_views, rung.image_size, k_min).median_ms
        if interval_ms is not None and alone_ms > interval_ms:  # frames queue: the first one came with a window's start
            full_ms = self._model.predict(rung.window_size, rung.image_size, k_min).median_ms
            start = self._arrivals(rung, full_ms, interval_ms)
        return max(
            self._percentile_ms(queue.waited_ms, estimate if doubted else replace(estimate, doubt=0.0))
            for queue, estimate in self._windows_ahead(rung, k_min, start, 2 * LOOKAHEAD, pessimism=1.0)
        )

    def _windows_ahead(
        self, rung: Rung, num_steps: int, queue: Queue, count: int, pessimism: float = 0.0
    ) -> Iterator[tuple[Queue, Estimate]]:
        """This window and those that follow it, if frames come as they did and K stays.

        ``pessimism``: standard deviations by which each of them takes longer than its median.
        """
        for _ in range(count):
            estimate = self._model.predict(queue.num_views, rung.image_size, num_steps)
            yield queue, estimate
            interval_ms = self._frame_interval_ms
            if interval_ms is None:
                return
            window_ms = estimate.median_ms * (1 + pessimism * estimate.noise)
            queue = self._arrivals(rung, queue.waited_ms + window_ms - queue.num_new * interval_ms, interval_ms)

    def _arrivals(self, rung: Rung, waited_ms: float, interval_ms: float) -> Queue:
        """The frames since the one that arrived ``waited_ms`` ago (below 0: is to come); the newest win."""
        waited_ms, overlap = max(waited_ms, 0.0), self._overlap(rung)
        arrived = int(waited_ms / interval_ms) + 1
        num_new = min(arrived, rung.window_size - overlap)
        return Queue(overlap + num_new, num_new, waited_ms - (arrived - num_new) * interval_ms)

    def _overlap(self, rung: Rung) -> int:
        return min(self._limits.window_overlap, rung.window_size - 1)

    def _percentile_ms(self, waited_ms: float, window: Estimate) -> float:
        quantile = self._model.quantile
        own_margin_ms = (self._own_ms + 1) * math.expm1(quantile * self._own_deviation)  # from 1 ms up relative
        margin_ms = math.hypot(window.margin_ms(quantile), own_margin_ms)
        return waited_ms + window.median_ms + self._own_ms + margin_ms
