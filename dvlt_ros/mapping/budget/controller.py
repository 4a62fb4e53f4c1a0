"""Chooses K: the largest one whose latency (99.5th percentile) fits the budget, by a model learned from past windows.
Reference views beyond the first come after the last step: what their paths take counts as steps.

    plan = controller.plan(...)       # K of the next window
    controller.observe(...)           # measured times of this window; may change the quality level
    controller.level                  # window size and resolution of the next window

What is done with the network's answer (``beside_ms``: refinement) has its usual time before K gets more: the kitchen's
path is as exact with K = 2 as with K = 8 if it is refined, and five times worse if it is not. Where a window takes
longer than usual, it is cut short (`remaining_ms`).

If even k_min exceeds the budget, the window becomes smaller, then the network's resolution; both return with
hysteresis. This package reads no clock: times are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from .latency import LEARNING, LatencyModel, WindowTime
from .limits import Limits
from .overhead import Overhead
from .plans import ApartPlan, Plan, Queue
from .quality_levels import QualityLevel, QualityLevels

LOOKAHEAD = 3  # windows for which this K must keep the budget
HELPS = 0.95  # a lower level must reduce the latency at least by this factor
HEADROOM = 0.85  # largest share of the budget, with k_min and uncertainty, at which the level above is tried
HOPEFUL = 0.95  # the same share without uncertainty ...
HOPE = 0.1  # ... at which a window counts by this much
PATIENCE = 8  # windows in a row with headroom before the level above is tried
MAX_PATIENCE = 640
PROBATION = 200  # windows; a level that fails within them was tried too early


class BudgetController:
    """Chooses K and the quality level. Not thread-safe: it belongs to the thread that runs the windows."""

    def __init__(self, limits: Limits, beside_ms: Callable[[int, int], float] = lambda *_: 0.0) -> None:
        """``beside_ms`` tells the usual time beside the network of a window by its views and those that are new."""
        self.quality_levels = QualityLevels(limits)
        self._limits = limits
        self._model = LatencyModel()
        self._overhead = Overhead()
        self._placing = Overhead()  # from the end of the prediction to the end of the window, which is part of its time
        self._beside_ms = beside_ms
        self._frame_interval_ms: float | None = None
        self._calm = 0.0  # windows in a row in which the level above would have kept the budget
        self._patience = PATIENCE  # such windows before that level is tried; doubled after a failed try
        self._tried = PROBATION  # windows since the last try
        self._known_loads = 0

    @property
    def level(self) -> QualityLevel:
        """Window size and resolution of the next window."""
        return self.quality_levels.level

    def plan(self, num_views: int, num_new: int, waited_ms: float, frame_interval_ms: float | None) -> Plan:
        """K and reference views of a window that starts now, whose oldest new frame arrived ``waited_ms`` ago."""
        self._frame_interval_ms = frame_interval_ms or None  # 0: frames of one instant, which give no frame rate
        limits = self._limits
        start = Queue(num_views, num_new, waited_ms)
        efforts = limits.efforts(num_views)
        if not self._model.num_windows:
            effort = efforts[-1 if limits.budget_ms else 0]
            return Plan(effort.num_steps, None, None, True, effort.references)
        while limits.budget_ms and len(efforts) > 1 and not self._lasts(efforts[0].work, start):
            del efforts[0]
        effort = efforts[0]
        estimate = self._time(start, self.level, effort.work)
        percentile_ms = self._percentile_ms(waited_ms, estimate)
        fits = not limits.budget_ms or percentile_ms <= limits.budget_ms
        predicted_ms = waited_ms + estimate.usual_ms + self._overhead.median_ms
        return Plan(effort.num_steps, predicted_ms, percentile_ms, fits, effort.references)

    def remaining_ms(self, waited_ms: float) -> float:
        """How long the prediction of a window that starts now may take (inf: without a budget)."""
        if not self._limits.budget_ms:
            return math.inf
        quantile, after = self._model.quantile, (self._placing, self._overhead)
        margin_ms = math.hypot(*(part.margin_ms(quantile) for part in after))
        return self._limits.budget_ms - waited_ms - sum(part.median_ms for part in after) - margin_ms

    def time_apart_ms(self, waited_ms: float) -> float:
        """How long other work may take, so that a full window with k_min after it still keeps the budget.

        0: too few windows were measured. ``waited_ms``: of the oldest new frame.
        """
        limits, level = self._limits, self.level
        if not limits.budget_ms:
            return math.inf
        if self._model.num_windows < LEARNING:
            return 0.0
        full = Queue(level.window_size, level.window_size - self._overlap(level), waited_ms)
        return limits.budget_ms - self._percentile_ms(waited_ms, self._time(full, level, limits.k_min))

    def plan_apart(
        self, num_views: int, waited_ms: float, refining_ms: Callable[[int], float] = lambda _: 0.0
    ) -> ApartPlan | None:
        """K of an extra window (a loop's) in the `time_apart_ms`; None: there is no such K.

        ``waited_ms``: of the oldest new frame;
        ``refining_ms`` tells by the views what its refinement usually takes, which is worth more than steps.
        """
        limits, level, limit_ms = self._limits, self.level, self.time_apart_ms(waited_ms)
        if math.isinf(limit_ms):
            return ApartPlan(limits.k_max, limit_ms)
        if limit_ms <= 0:
            return None
        for beside_ms in (refining_ms(num_views), 0.0):
            for num_steps in range(limits.k_max, limits.k_min - 1, -1):
                apart = self._model.predict(num_views, level.image_size, num_steps)
                apart_ms = apart.median_ms + apart.margin_ms(self._model.quantile) + beside_ms
                if apart_ms <= limit_ms:
                    return ApartPlan(num_steps, limit_ms)
        return None

    def observe(
        self,
        num_views: int,
        num_steps: int,
        image_size: int,
        window_ms: float,
        overhead_ms: float,
        placing_ms: float = 0.0,
    ) -> None:
        """Learns from a window's time and the overhead until its publication; may change the quality level.

        ``num_steps`` is `Plan.work`; ``window_ms`` is without what is beside the network, and ``placing_ms`` the
        part of it after the prediction.
        """
        self._model.observe(num_views, image_size, num_steps, max(window_ms, 1e-3))
        self._overhead.observe(overhead_ms)
        self._placing.observe(placing_ms)
        self.quality_levels.forgive_memory()
        self._tried += 1
        if not self._limits.budget_ms:
            if self.quality_levels.index > self.quality_levels.top:
                self.quality_levels.move(self.quality_levels.top, "no latency budget")
        elif self._model.is_settled and self._model.num_windows >= LEARNING:
            self._change_level()

    def expect(self, num_views: int, num_steps: int, image_size: int, window_ms: float) -> None:
        """Learns from a window before the stream began; replaces what was learned before."""
        self._model = LatencyModel()
        self._model.observe(num_views, image_size, num_steps, max(window_ms, 1e-3))

    def out_of_memory(self, num_views: int) -> bool:
        """See `QualityLevels.out_of_memory`."""
        return self.quality_levels.out_of_memory(num_views)

    def update(self, limits: Limits) -> None:
        """Takes effect with the next window; the latency model is kept."""
        self.quality_levels.renew(limits)
        self._limits = limits
        self._calm = 0.0
        self._patience = PATIENCE

    def _change_level(self) -> None:
        """Moves by one change per window at most: down at once, up after `_patience` windows with headroom."""
        if self._model.num_loads > self._known_loads:  # tries under another load do not count
            self._known_loads = self._model.num_loads
            self._patience = PATIENCE
        latency_ms = self._steady_ms(self.level)
        if latency_ms > self._limits.budget_ms:
            self._step_down(latency_ms)
        elif self.quality_levels.index > self.quality_levels.top:
            self._step_up()

    def _step_down(self, latency_ms: float) -> None:
        """To the first lower level that reduces the latency; stays if none does."""
        below = range(self.quality_levels.index + 1, len(self.quality_levels.levels))
        helping = [i for i in below if self._steady_ms(self.quality_levels.levels[i]) < HELPS * latency_ms]
        if not helping:
            return
        if self._tried < PROBATION:
            self._patience = min(2 * self._patience, MAX_PATIENCE)
        self._calm = 0.0
        self._move(helping[0], f"would take {latency_ms:.0f}")

    def _step_up(self) -> None:
        """To the level above, once it would have kept the budget for `_patience` windows."""
        above = self.quality_levels.levels[self.quality_levels.index - 1]
        budget_ms = self._limits.budget_ms
        latency_ms = self._steady_ms(above)
        if self._steady_ms(above, doubted=True) <= HEADROOM * budget_ms:
            self._calm += 1.0
        else:  # a level that only uncertainty forbids is tried after a longer time
            self._calm = self._calm + HOPE if latency_ms <= HOPEFUL * budget_ms else 0.0
        if self._calm >= self._patience:
            self._calm = 0.0
            self._tried = 0
            self._move(self.quality_levels.index - 1, f"would take only {latency_ms:.0f}")

    def _move(self, index: int, finding: str) -> None:
        self.quality_levels.move(index, f"{self._limits.k_min} steps {finding} of {self._limits.budget_ms:.0f} ms")

    def _lasts(self, num_steps: int, start: Queue) -> bool:
        """Whether this window and the next ones keep the budget with this K and drop no frames."""
        level = self.level
        supply_ms = math.inf
        if self._frame_interval_ms is not None:
            supply_ms = (level.window_size - self._overlap(level)) * self._frame_interval_ms
        return all(
            estimate.usual_ms <= supply_ms and self._percentile_ms(queue.waited_ms, estimate) <= self._limits.budget_ms
            for queue, estimate in self._windows_ahead(level, num_steps, start, LOOKAHEAD)
        ) and self._leaves_room(num_steps, start)

    def _leaves_room(self, num_steps: int, start: Queue) -> bool:
        """Whether k_min keeps the budget in the next window if this one takes its 99.5th percentile."""
        limits, level = self._limits, self.level
        ahead = [queue for queue, _ in self._windows_ahead(level, num_steps, start, 2, self._model.quantile)]
        return all(
            self._percentile_ms(queue.waited_ms, self._time(queue, level, limits.k_min)) <= limits.budget_ms
            for queue in ahead[1:]
        )

    def _steady_ms(self, level: QualityLevel, doubted: bool = False) -> float:
        """The longest latency (99.5th percentile) on a level, with k_min and the present frame rate.

        ``doubted``: includes the uncertainty of the predicted median.
        """
        k_min = self._limits.k_min
        interval_ms = self._frame_interval_ms
        start = Queue(self._overlap(level) + 1, 1, 0.0)
        alone_ms = self._time(start, level, k_min).usual_ms
        if interval_ms is not None and alone_ms > interval_ms:  # frames queue; the first came at a window's start
            full = Queue(level.window_size, level.window_size - self._overlap(level), 0.0)
            full_ms = self._time(full, level, k_min).usual_ms
            start = self._arrivals(level, full_ms, interval_ms)
        return max(
            self._percentile_ms(queue.waited_ms, estimate if doubted else replace(estimate, doubt=0.0))
            for queue, estimate in self._windows_ahead(level, k_min, start, 2 * LOOKAHEAD, pessimism=1.0)
        )

    def _windows_ahead(
        self, level: QualityLevel, num_steps: int, queue: Queue, count: int, pessimism: float = 0.0
    ) -> Iterator[tuple[Queue, WindowTime]]:
        """This window and the following ones, for the present frame rate and this K.

        ``pessimism``: standard deviations by which each window takes longer than its median.
        """
        for _ in range(count):
            estimate = self._time(queue, level, num_steps)
            yield queue, estimate
            interval_ms = self._frame_interval_ms
            if interval_ms is None:
                return
            window_ms = estimate.usual_ms + pessimism * estimate.noise * estimate.median_ms
            queue = self._arrivals(level, queue.waited_ms + window_ms - queue.num_new * interval_ms, interval_ms)

    def _arrivals(self, level: QualityLevel, waited_ms: float, interval_ms: float) -> Queue:
        """The newest frames that fit, counted from the one that arrived ``waited_ms`` ago (below 0: will arrive)."""
        waited_ms = max(waited_ms, 0.0)
        overlap = self._overlap(level)
        arrived = int(waited_ms / interval_ms) + 1
        num_new = min(arrived, level.window_size - overlap)
        return Queue(overlap + num_new, num_new, waited_ms - (arrived - num_new) * interval_ms)

    def _overlap(self, level: QualityLevel) -> int:
        return min(self._limits.window_overlap, level.window_size - 1)

    def _time(self, queue: Queue, level: QualityLevel, num_steps: int) -> WindowTime:
        """Of the window that these frames become."""
        network = self._model.predict(queue.num_views, level.image_size, num_steps)
        return replace(network, beside_ms=self._beside_ms(queue.num_views, queue.num_new))

    def _percentile_ms(self, waited_ms: float, window: WindowTime) -> float:
        quantile = self._model.quantile
        margin_ms = math.hypot(window.margin_ms(quantile), self._overhead.margin_ms(quantile))
        return waited_ms + window.usual_ms + self._overhead.median_ms + margin_ms
