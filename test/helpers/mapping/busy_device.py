"""A simulated robot for the budget: camera, queue, clock, and a device whose load changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dvlt_ros.mapping.budget.controller import BudgetController
from dvlt_ros.mapping.budget.limits import Limits
from dvlt_ros.mapping.budget.plans import Plan
from dvlt_ros.mapping.budget.quality_levels import QualityLevel

LIMITS = Limits(budget_ms=250, k_min=8, k_max=16, window_size=8, window_overlap=3, image_size=504)
LEARNING_WINDOWS = 5  # after each change of the load


@dataclass(frozen=True)
class Device:
    """A window's true cost, which is not the controller's law; coefficients in ms."""

    fixed: tuple[float, float]  # per window, per view
    step: tuple[float, float]  # per view, per pair of views

    def window_ms(self, num_views: int, scale: float, num_steps: int, load: float) -> float:
        views = num_views * scale**2
        step = self.step[0] * views + self.step[1] * views**2
        return self.fixed[0] + self.fixed[1] * views + load * num_steps * step


GPU = Device(fixed=(6.0, 2.0), step=(0.8, 0.05))
SLOW_START = Device(fixed=(25.0, 0.3), step=(0.3, 0.12))  # most of a short window is not steps
LINEAR = Device(fixed=(2.0, 4.0), step=(1.0, 0.0))
DEVICES = {"gpu": GPU, "slow start": SLOW_START, "linear": LINEAR}


@dataclass(frozen=True)
class Outcome:
    latency_ms: float  # of the oldest new frame, from arrival to publication
    window_ms: float
    plan: Plan
    level: QualityLevel
    is_refined: bool


class Robot:
    """Frames at a rate, the front end's queue, which drops the oldest, one device."""

    def __init__(
        self, limits=LIMITS, interval_ms=33.0, device=GPU, noise=0.05, outliers=0.002, overhead_ms=4.0, jitter=0.0,
        refined_ms=0.0,
    ):  # fmt: skip
        """``refined_ms``: of a view's refinement, which is left out where it does not fit."""
        self.controller = BudgetController(limits, lambda views, _: refined_ms * views)
        self.refined_ms = refined_ms
        self.limits, self.interval_ms, self.device = limits, interval_ms, device
        self.noise, self.outliers, self.overhead_ms, self.jitter = noise, outliers, overhead_ms, jitter
        self.rng = np.random.default_rng(7)
        self.now_ms = self.next_frame_ms = 0.0
        self.arrivals: list[float] = []
        self.waiting: list[float] = []
        self.num_retained = self.num_dropped = 0

    def run(self, count: int, load: float = 1.0) -> list[Outcome]:
        return [self.window(load) for _ in range(count)]

    def window(self, load: float = 1.0) -> Outcome:
        level, num_new, waited_ms = self._take()
        num_views = self.num_retained + num_new
        recent = self.arrivals[-20:]
        interval_ms = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else None
        plan = self.controller.plan(num_views, num_new, waited_ms, interval_ms)
        window_ms = self.device.window_ms(num_views, level.image_size / self.limits.image_size, plan.work, load)
        window_ms *= math.exp(self.noise * self.rng.standard_normal()) * (2 if self.rng.random() < self.outliers else 1)
        beside_ms = self._refine(num_views, self.controller.remaining_ms(waited_ms) - window_ms)
        overhead_ms = self.overhead_ms * math.exp(0.2 * self.rng.standard_normal())
        self.controller.observe(num_views, plan.work, level.image_size, window_ms, overhead_ms)
        window_ms += beside_ms
        self.now_ms += window_ms
        self.num_retained = min(self.limits.window_overlap, num_views)
        return Outcome(waited_ms + window_ms + overhead_ms, window_ms, plan, level, beside_ms > 0)

    def _refine(self, num_views: int, limit_ms: float) -> float:
        usual_ms = self.refined_ms * num_views
        if not usual_ms or 1.2 * usual_ms > limit_ms:
            return 0.0
        return usual_ms * math.exp(0.1 * self.rng.standard_normal())

    def _take(self) -> tuple[QualityLevel, int, float]:
        level = self.controller.level
        self._receive()
        while len(self.waiting) < (1 if self.num_retained else 2):
            self.now_ms = max(self.now_ms, self.next_frame_ms)
            self._receive()
        self.num_retained = min(self.num_retained, self.limits.window_overlap, level.window_size - 1)
        room = level.window_size - self.num_retained
        self.num_dropped += max(0, len(self.waiting) - room)
        taken, self.waiting = self.waiting[-room:], []
        return level, len(taken), self.now_ms - taken[0]

    def _receive(self) -> None:
        while self.next_frame_ms <= self.now_ms:
            self.waiting.append(self.next_frame_ms)
            self.arrivals.append(self.next_frame_ms)
            self.next_frame_ms += self.interval_ms * max(0.1, 1 + self.jitter * self.rng.standard_normal())


def inside(outcomes: list[Outcome], budget_ms: float) -> float:
    """Share of the windows that kept the budget."""
    return float(np.mean([outcome.latency_ms <= budget_ms for outcome in outcomes]))


def feed(controller: BudgetController, count: int, step_ms: float, num_views: int = 4) -> None:
    """Windows of 10 ms and ``step_ms`` a step, one per frame at 2 Hz."""
    for _ in range(count):
        plan = controller.plan(num_views, 1, 0.0, 500.0)
        window_ms = 10 + step_ms * plan.num_steps
        controller.observe(num_views, plan.num_steps, controller.level.image_size, window_ms, 2.0)
