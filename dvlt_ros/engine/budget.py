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

import numpy as np

from ..errors import ConfigError
from ..model.config import PATCH_SIZE

NORMAL_QUANTILE = 2.576  # standard deviations below which 99.5 % of a normal distribution lie
MAX_QUANTILE = 4.0
MISS_SHARE = 0.005
QUANTILE_STEP = 0.3

ATTENTION_TOKENS = 4608  # tokens whose attention costs as much as the linear layers: six times the usual width
FIXED_SHARE = 0.25  # guess of a's part in a first window, before K has varied
SURPRISE = 4.0  # standard deviations that are either an outlier or a new load
LOAD_DRIFT, FIT_DRIFT = 0.01, 0.002  # per window, relative
MIN_NOISE, FIRST_NOISE, NOISE_MEMORY = 0.005, 0.1, 40
REMEMBERED_OWN = 9  # windows over which the node's own costs are taken: a new level counts after five

MIN_WINDOW, MIN_IMAGE_SIZE = 2, 56
WINDOW_STEP = 0.75  # sizes of neighbouring rungs
LOOKAHEAD = 3  # windows for which K must be good if it stays
LEARNING = 3  # windows before the ladder is moved: the first ones warm the device up
HELPS = 0.95  # a rung below must be cheaper by this
HEADROOM = 0.85  # part of the budget that k_min may take on the rung above before it is tried
PATIENCE, MAX_PATIENCE, PROBATION = 5, 640, 40  # windows
MEMORY_PATIENCE = 500  # windows after which one rung above an out-of-memory error is tried again


@dataclass(frozen=True)
class Limits:
    """What configuration and checkpoint allow together; nothing stands for a default but budget_ms 0 for none."""

    budget_ms: float  # from a frame's arrival to its publication; 0: always k_max
    k_min: int
    k_max: int
    window_size: int
    window_overlap: int
    image_size: int  # network's longest edge, pixels

    def __post_init__(self) -> None:
        if not 0 <= self.budget_ms < math.inf:
            raise ConfigError(f"budget_ms must be 0 or more and finite, got {self.budget_ms}")
        if not 1 <= self.k_min <= self.k_max:
            raise ConfigError(f"k_min and k_max must be 1 or more and in order, got {self.k_min} and {self.k_max}")
        if not 1 <= self.window_overlap < self.window_size:
            raise ConfigError(
                f"window_overlap must be from 1 to below window_size {self.window_size}, got {self.window_overlap}"
            )
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
class Estimate:
    """Time of a window, log-normal."""

    median_ms: float
    noise: float  # relative standard deviation from window to window
    doubt: float  # relative standard deviation of the median itself

    def margin_ms(self, quantile: float) -> float:
        return self.median_ms * math.expm1(quantile * math.hypot(self.noise, self.doubt))


@dataclass(frozen=True, eq=False)
class Fit:
    """``a`` and ``b`` of one (views, image_size) in logarithms, so that both stay positive."""

    mean: np.ndarray  # (2,)
    covariance: np.ndarray  # (2, 2)


class LatencyModel:
    """``window_ms = a + load * b * K``: an extended Kalman filter on logarithms.

    a and b belong to one (views, image_size) and move slowly. The load is common to all of them and moves fast:
    while K stays the same, a dearer step cannot be told from a dearer rest, and what changes on a shared device
    is the loop. One surprising window may be an outlier: a higher load is assumed from it but not learned. A
    second one in the same direction is a new load.
    """

    def __init__(self) -> None:
        self.num_windows = 0
        self.num_loads = 0  # how often the load changed suddenly
        self.quantile = NORMAL_QUANTILE  # grows where the tail is heavier than a normal one's
        self._fits: dict[tuple[int, int], Fit] = {}
        self._load, self._load_variance = 0.0, 0.0  # logarithm
        self._noise_variance = FIRST_NOISE**2
        self._suspect: float | None = None  # the load that the last, surprising window would mean

    @property
    def is_settled(self) -> bool:
        return self._suspect is None

    def predict(self, num_views: int, image_size: int, num_steps: int) -> Estimate:
        """Needs one observation at least, of whatever window."""
        fit = self._fit(num_views, image_size)
        load = self._load if self._suspect is None else max(self._load, self._suspect)
        median_ms, slope = linearised(fit, load, num_steps)
        return Estimate(median_ms, math.sqrt(self._noise_variance), math.sqrt(self._doubt(fit, slope)))

    def observe(self, num_views: int, image_size: int, num_steps: int, window_ms: float) -> None:
        self.num_windows += 1
        if not self._fits:
            self._begin(num_views, image_size, num_steps, window_ms)
            return
        self._load_variance += LOAD_DRIFT**2
        fit = self._fit(num_views, image_size)
        fit = replace(fit, covariance=fit.covariance + FIT_DRIFT**2 * np.eye(2))
        median_ms, slope = linearised(fit, self._load, num_steps)
        residual, deviation = math.log(window_ms / median_ms), math.sqrt(self._doubt(fit, slope) + self._noise_variance)
        if abs(residual) <= SURPRISE * deviation:
            if self._suspect is not None:  # the window before was an outlier
                self._learn_quantile(missed=self._suspect > self._load)
                self._suspect = None
            self._learn_quantile(residual > self.quantile * deviation)
            self._fits[num_views, image_size] = self._learn(fit, slope, residual)
            return
        before, self._suspect = self._suspect, self._load_of(fit, num_steps, window_ms)
        if before is not None and (before > self._load) == (residual > 0):
            self._change_load(num_views, image_size, fit, num_steps, window_ms)
        else:
            self._learn_noise((SURPRISE * deviation) ** 2, self._doubt(fit, slope))

    def _begin(self, num_views: int, image_size: int, num_steps: int, window_ms: float) -> None:
        a, b = FIXED_SHARE * window_ms, (1 - FIXED_SHARE) * window_ms / num_steps
        # a is anything from nearly nothing to nearly all; with the sum known, b moves against it
        spread = np.array([0.8, -0.8 * FIXED_SHARE / (1 - FIXED_SHARE)])
        self._fits[num_views, image_size] = Fit(np.log([a, b]), np.outer(spread, spread) + 0.05**2 * np.eye(2))
        self._load_variance = 0.5**2  # a first window also loads kernels and fills caches

    def _fit(self, num_views: int, image_size: int) -> Fit:
        """Its own, or that of the most similar window, scaled by the law of cost."""
        if (fit := self._fits.get((num_views, image_size))) is not None:
            return fit
        work = log_work(num_views, image_size)
        nearest = min(self._fits, key=lambda key: float(np.abs(log_work(*key) - work).sum()))
        ratio = work - log_work(*nearest)
        fit = self._fits[nearest]
        return Fit(fit.mean + ratio, fit.covariance + np.diag((0.05 + 0.3 * np.abs(ratio)) ** 2))

    def _doubt(self, fit: Fit, slope: np.ndarray) -> float:
        return float(slope @ fit.covariance @ slope + slope[1] ** 2 * self._load_variance)

    def _learn(self, fit: Fit, slope: np.ndarray, residual: float) -> Fit:
        """The residual goes where the doubt is; beyond 3 deviations it counts as 3."""
        doubt = self._doubt(fit, slope)
        variance = doubt + self._noise_variance
        bounded = float(np.clip(residual, -3 * math.sqrt(variance), 3 * math.sqrt(variance)))
        gain, load_gain = fit.covariance @ slope / variance, slope[1] * self._load_variance / variance
        self._load += load_gain * bounded
        self._load_variance -= load_gain * slope[1] * self._load_variance
        self._learn_noise(bounded**2, doubt)
        return Fit(fit.mean + gain * bounded, fit.covariance - np.outer(gain, slope @ fit.covariance))

    def _learn_noise(self, squared: float, doubt: float) -> None:
        rate = 1 / min(self.num_windows + 3, NOISE_MEMORY)
        learned = self._noise_variance + rate * (squared - doubt - self._noise_variance)
        self._noise_variance = max(learned, (1 - rate) * self._noise_variance, MIN_NOISE**2)

    def _learn_quantile(self, missed: bool) -> None:
        moved = self.quantile + QUANTILE_STEP * (missed - MISS_SHARE)
        self.quantile = min(max(moved, NORMAL_QUANTILE), MAX_QUANTILE)

    @staticmethod
    def _load_of(fit: Fit, num_steps: int, window_ms: float) -> float:
        """The load that explains a window with this fit; a tenth of it at least are steps."""
        return math.log(max(window_ms - math.exp(fit.mean[0]), 0.1 * window_ms) / num_steps) - fit.mean[1]

    def _change_load(self, num_views: int, image_size: int, fit: Fit, num_steps: int, window_ms: float) -> None:
        self.num_loads += 1
        self._load, self._suspect = self._load_of(fit, num_steps, window_ms), None
        self._load_variance = self._noise_variance + 0.03**2
        fixed = min(fit.mean[0], math.log(0.9 * window_ms))
        self._fits[num_views, image_size] = replace(fit, mean=np.array([fixed, fit.mean[1]]))
        # the rest may have changed as well
        self._fits = {k: replace(f, covariance=f.covariance + np.diag([0.2**2, 0])) for k, f in self._fits.items()}


def linearised(fit: Fit, load: float, num_steps: int) -> tuple[float, np.ndarray]:
    """Median time in ms, and the slope (2,) of its logarithm over those of a and b: their shares."""
    a, steps = math.exp(fit.mean[0]), math.exp(fit.mean[1] + load) * num_steps
    return a + steps, np.array([a, steps]) / (a + steps)


def log_work(num_views: int, image_size: int) -> np.ndarray:
    """(2,): work outside the loop, in proportion to the tokens, and in a step, whose attention is quadratic."""
    per_view = (image_size / PATCH_SIZE) ** 2
    tokens = num_views * per_view
    attended = 0.5 * (per_view + tokens)  # one half of a step looks at one view, the other at all
    return np.log([tokens, tokens * (1 + attended / ATTENTION_TOKENS)])


def ladder(limits: Limits) -> tuple[Rung, ...]:
    """Full window and resolution first; each later rung is cheaper than the one before."""
    sizes, edges = [limits.window_size], [limits.image_size]
    while sizes[-1] > MIN_WINDOW:
        sizes.append(max(MIN_WINDOW, int(WINDOW_STEP * sizes[-1])))
    for sixths in (5, 4, 3):
        edge = PATCH_SIZE * round(limits.image_size * sixths / 6 / PATCH_SIZE)
        if MIN_IMAGE_SIZE <= edge < edges[-1]:
            edges.append(edge)
    return tuple(
        [Rung(size, limits.image_size) for size in sizes] + [Rung(sizes[-1], edge) for edge in edges[1:]]
    )


class BudgetController:
    """Chooses K and the rung of the ladder. Not thread-safe: it belongs to the thread that runs the windows."""

    def __init__(self, limits: Limits) -> None:
        self.last_change: Change | None = None
        self.num_changes = 0
        self._limits = limits
        self._rungs = ladder(limits)
        self._index = 0
        self._model = LatencyModel()
        self._own_ms: deque[float] = deque([0.0], maxlen=REMEMBERED_OWN)
        self._frame_interval_ms: float | None = None
        self._calm = 0  # windows in a row after which the rung above would have done
        self._patience = PATIENCE  # calm windows before it is tried; doubles when that was wrong
        self._tried = PROBATION  # windows since it was last tried
        self._known_loads = 0
        self._memory_index = 0  # rungs above this one ran out of memory
        self._memory_calm, self._memory_patience = 0, MEMORY_PATIENCE

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def rung(self) -> Rung:
        """Window size and resolution of the next window."""
        return self._rungs[self._index]

    def plan(self, num_views: int, num_new: int, waited_ms: float, frame_interval_ms: float | None) -> Plan:
        """K of a window that starts now, whose oldest new frame arrived ``waited_ms`` ago."""
        self._frame_interval_ms = frame_interval_ms
        limits, start = self._limits, Queue(num_views, num_new, waited_ms)
        if not self._model.num_windows:
            return Plan(limits.k_min if limits.budget_ms else limits.k_max, None, None, True)
        num_steps = limits.k_max
        while limits.budget_ms and num_steps > limits.k_min and not self._lasts(num_steps, start):
            num_steps -= 1
        estimate = self._model.predict(num_views, self.rung.image_size, num_steps)
        percentile_ms = self._percentile_ms(waited_ms, estimate)
        return Plan(
            num_steps, waited_ms + estimate.median_ms + self._own()[0], percentile_ms,
            not limits.budget_ms or percentile_ms <= limits.budget_ms,
        )  # fmt: skip

    def observe(self, num_views: int, num_steps: int, image_size: int, window_ms: float, own_ms: float) -> None:
        """What a window took, and what followed until its publication; then the ladder may be moved."""
        self._model.observe(num_views, image_size, num_steps, max(window_ms, 1e-3))
        self._own_ms.append(own_ms)
        self._forgive_memory()
        self._tried += 1
        if not self._limits.budget_ms:
            if self._index > self._memory_index:
                self._move(self._memory_index, "no latency budget")
        elif self._model.is_settled and self._model.num_windows >= LEARNING:
            self._climb()

    def out_of_memory(self, num_views: int) -> bool:
        """A window of so many views did not fit on the device; False: there is nothing smaller."""
        smaller = [
            i for i, rung in enumerate(self._rungs)
            if rung.window_size < num_views or rung.image_size < self.rung.image_size
        ]  # fmt: skip
        below = [i for i in smaller if i > self._index]
        if not below:
            return False
        if self._memory_index:
            self._memory_patience *= 2
        self._memory_index, self._memory_calm = below[0], 0
        self._move(below[0], f"out of memory with {num_views} views")
        return True

    def update(self, limits: Limits) -> None:
        """Takes effect with the next window. What was learned of the device stays."""
        rungs = ladder(limits)
        if rungs != self._rungs:
            self._rungs, self._index, self._memory_index = rungs, 0, 0
        self._limits, self._calm, self._patience = limits, 0, PATIENCE

    def _climb(self) -> None:
        """At most one rung per window, down at once and up with patience."""
        if self._model.num_loads > self._known_loads:  # what was tried under another load says nothing
            self._known_loads, self._patience = self._model.num_loads, PATIENCE
        k_min, budget_ms = self._limits.k_min, self._limits.budget_ms
        worst_ms = self._steady_ms(self._index, doubted=False)
        if worst_ms > budget_ms:
            self._calm = 0
            below = range(self._index + 1, len(self._rungs))
            helping = [i for i in below if self._steady_ms(i, doubted=False) < HELPS * worst_ms]
            if helping:
                self._punish()
                self._move(helping[0], f"{k_min} steps would take {worst_ms:.0f} of {budget_ms:.0f} ms")
        elif self._index > self._memory_index:
            above_ms = self._steady_ms(self._index - 1, doubted=True)
            self._calm = self._calm + 1 if above_ms <= HEADROOM * budget_ms else 0
            if self._calm >= self._patience:
                self._calm = self._tried = 0
                self._move(self._index - 1, f"{k_min} steps would take only {above_ms:.0f} of {budget_ms:.0f} ms")

    def _punish(self) -> None:
        if self._tried < PROBATION:
            self._patience = min(2 * self._patience, MAX_PATIENCE)

    def _forgive_memory(self) -> None:
        if self._memory_index:
            self._memory_calm += 1
            if self._memory_calm >= self._memory_patience:
                self._memory_index, self._memory_calm = self._memory_index - 1, 0

    def _move(self, index: int, reason: str) -> None:
        self.last_change = Change(self.rung, self._rungs[index], reason)
        self.num_changes += 1
        self._index = index

    def _lasts(self, num_steps: int, start: Queue) -> bool:
        """Whether this window and the next ones keep the budget with this K, and lose no frames."""
        supply_ms = math.inf
        if self._frame_interval_ms is not None:
            supply_ms = (self.rung.window_size - self._overlap(self.rung)) * self._frame_interval_ms
        return all(
            estimate.median_ms <= supply_ms and self._percentile_ms(queue.waited_ms, estimate) <= self._limits.budget_ms
            for queue, estimate in self._windows_ahead(self.rung, num_steps, start, LOOKAHEAD)
        )

    def _steady_ms(self, index: int, doubted: bool) -> float:
        """The longest latency (99.5th percentile) with k_min and the present frame rate on a rung."""
        rung, k_min, interval_ms = self._rungs[index], self._limits.k_min, self._frame_interval_ms
        overlap = self._overlap(rung)
        start = Queue(overlap + 1, 1, 0.0)
        alone_ms = self._model.predict(start.num_views, rung.image_size, k_min).median_ms
        if interval_ms is not None and alone_ms > interval_ms:  # frames queue: the first one came with a window's start
            full_ms = self._model.predict(rung.window_size, rung.image_size, k_min).median_ms
            start = self._arrivals(rung, full_ms, interval_ms)
        return max(
            self._percentile_ms(queue.waited_ms, estimate if doubted else replace(estimate, doubt=0.0))
            for queue, estimate in self._windows_ahead(rung, k_min, start, 2 * LOOKAHEAD)
        )

    def _windows_ahead(
        self, rung: Rung, num_steps: int, queue: Queue, count: int
    ) -> Iterator[tuple[Queue, Estimate]]:
        """This window and those that follow it, if frames come as they did and K stays."""
        for _ in range(count):
            estimate = self._model.predict(queue.num_views, rung.image_size, num_steps)
            yield queue, estimate
            interval_ms = self._frame_interval_ms
            if interval_ms is None:
                return
            queue = self._arrivals(rung, queue.waited_ms + estimate.median_ms - queue.num_new * interval_ms, interval_ms)

    def _arrivals(self, rung: Rung, waited_ms: float, interval_ms: float) -> Queue:
        """The frames since the one that arrived ``waited_ms`` ago (below 0: is to come); the newest win."""
        waited_ms, overlap = max(waited_ms, 0.0), self._overlap(rung)
        arrived = int(waited_ms / interval_ms) + 1
        num_new = min(arrived, rung.window_size - overlap)
        return Queue(overlap + num_new, num_new, waited_ms - (arrived - num_new) * interval_ms)

    def _overlap(self, rung: Rung) -> int:
        return min(self._limits.window_overlap, rung.window_size - 1)

    def _own(self) -> tuple[float, float]:
        """Median and standard deviation of the node's own costs in ms, both robust."""
        median = float(np.median(self._own_ms))
        return median, 1.4826 * float(np.median(np.abs(np.array(self._own_ms) - median)))

    def _percentile_ms(self, waited_ms: float, window: Estimate) -> float:
        (own_ms, own_deviation_ms), quantile = self._own(), self._model.quantile
        margin_ms = math.hypot(window.margin_ms(quantile), quantile * own_deviation_ms)
        return waited_ms + window.median_ms + own_ms + margin_ms


@dataclass(frozen=True)
class Queue:
    """What a window starts with."""

    num_views: int
    num_new: int
    waited_ms: float  # of the oldest new frame
