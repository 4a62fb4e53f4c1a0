"""The budget against a simulated robot: camera, queue, clock, and a device whose load changes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dvlt_ros.engine.budget import MEMORY_PATIENCE, BudgetController, Limits, Plan, Rung, ladder
from dvlt_ros.engine.latency import LatencyModel
from dvlt_ros.errors import ConfigError

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


@dataclass(frozen=True)
class Outcome:
    latency_ms: float  # of the oldest new frame, from arrival to publication
    window_ms: float
    plan: Plan
    rung: Rung


class Robot:
    """Frames at a rate, the engine's queue (newest win), one device."""

    def __init__(self, limits=LIMITS, interval_ms=33.0, device=GPU, noise=0.05, outliers=0.002, own_ms=4.0, jitter=0.0):
        self.controller = BudgetController(limits)
        self.limits, self.interval_ms, self.device = limits, interval_ms, device
        self.noise, self.outliers, self.own_ms, self.jitter = noise, outliers, own_ms, jitter
        self.rng = np.random.default_rng(7)
        self.now_ms = self.next_frame_ms = 0.0
        self.arrivals: list[float] = []
        self.waiting: list[float] = []
        self.num_retained = self.num_dropped = 0

    def run(self, count: int, load: float = 1.0) -> list[Outcome]:
        return [self.window(load) for _ in range(count)]

    def window(self, load: float = 1.0) -> Outcome:
        rung, num_new, waited_ms = self._take()
        num_views = self.num_retained + num_new
        recent = self.arrivals[-20:]
        interval_ms = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else None
        plan = self.controller.plan(num_views, num_new, waited_ms, interval_ms)
        window_ms = self.device.window_ms(num_views, rung.image_size / self.limits.image_size, plan.num_steps, load)
        window_ms *= math.exp(self.noise * self.rng.standard_normal()) * (2 if self.rng.random() < self.outliers else 1)
        own_ms = self.own_ms * math.exp(0.2 * self.rng.standard_normal())
        self.controller.observe(num_views, plan.num_steps, rung.image_size, window_ms, own_ms)
        self.now_ms += window_ms
        self.num_retained = min(self.limits.window_overlap, num_views)
        return Outcome(waited_ms + window_ms + own_ms, window_ms, plan, rung)

    def _take(self) -> tuple[Rung, int, float]:
        rung = self.controller.rung
        self._receive()
        while len(self.waiting) < (1 if self.num_retained else 2):
            self.now_ms = max(self.now_ms, self.next_frame_ms)
            self._receive()
        self.num_retained = min(self.num_retained, self.limits.window_overlap, rung.window_size - 1)
        room = rung.window_size - self.num_retained
        self.num_dropped += max(0, len(self.waiting) - room)
        taken, self.waiting = self.waiting[-room:], []
        return rung, len(taken), self.now_ms - taken[0]

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
        controller.observe(num_views, plan.num_steps, controller.rung.image_size, window_ms, 2.0)


@pytest.mark.parametrize("device", [GPU, SLOW_START, LINEAR], ids=["gpu", "slow start", "linear"])
@pytest.mark.parametrize(
    ("budget_ms", "interval_ms", "k_min", "k_max", "noise", "jitter"),
    [
        (250, 33, 8, 16, 0.02, 0.0),  # frames queue, the ladder is needed
        (300, 33, 8, 16, 0.05, 0.1),
        (150, 33, 4, 32, 0.05, 0.1),
        (250, 100, 8, 16, 0.05, 0.1),
        (150, 500, 4, 32, 0.05, 0.0),  # frames never wait
        (600, 66, 2, 16, 0.10, 0.1),  # a noisy device
    ],
)
def test_budget_is_kept_through_fourfold_changes(device, budget_ms, interval_ms, k_min, k_max, noise, jitter):
    limits = replace(LIMITS, budget_ms=budget_ms, k_min=k_min, k_max=k_max)
    robot = Robot(limits, interval_ms, device, noise, jitter=jitter)
    kept = [robot.run(100, load)[LEARNING_WINDOWS:] for load in (1, 4, 1, 0.25, 1, 4, 1)]
    assert inside([outcome for stage in kept for outcome in stage], budget_ms) >= 0.99


@pytest.mark.parametrize("device", [GPU, SLOW_START, LINEAR], ids=["gpu", "slow start", "linear"])
def test_k_takes_its_whole_range_and_the_ladder_goes_down_and_comes_back(device):
    robot = Robot(device=device, noise=0.03)
    stages = [robot.run(200, load) for load in (1, 4, 0.25, 1)]
    chosen = {outcome.plan.num_steps for stage in stages for outcome in stage}
    assert {LIMITS.k_min, LIMITS.k_max} <= chosen
    assert any(LIMITS.k_min < num_steps < LIMITS.k_max for num_steps in chosen)
    assert stages[1][-1].rung.window_size < LIMITS.window_size
    assert stages[2][-1].rung == Rung(LIMITS.window_size, LIMITS.image_size)
    assert inside([o for stage in stages for o in stage[LEARNING_WINDOWS:]], LIMITS.budget_ms) >= 0.99


def test_window_shrinks_before_the_resolution_one_rung_per_window_and_both_come_back():
    robot = Robot(replace(LIMITS, budget_ms=120), interval_ms=100, device=Device((2.0, 1.0), (1.0, 0.05)))
    rungs = ladder(robot.limits)
    down = [outcome.rung for load in (1, 4, 16) for outcome in robot.run(60, load)]
    assert down[-1].image_size < LIMITS.image_size
    assert down[-1].window_size == 2
    up = [outcome.rung for load in (4, 1, 0.25) for outcome in robot.run(150, load)]
    assert up[-1] == rungs[0]
    places = [rungs.index(rung) for rung in up]
    assert max(a - b for a, b in itertools.pairwise(places)) == 1  # climbs rung by rung
    assert robot.controller.last_change is not None
    assert "would take only" in robot.controller.ladder


@pytest.mark.parametrize("device", [GPU, SLOW_START, LINEAR], ids=["gpu", "slow start", "linear"])
@pytest.mark.parametrize("interval_ms", [33, 100, 500])
def test_ladder_does_not_oscillate(device, interval_ms):
    robot = Robot(interval_ms=interval_ms, device=device)
    num_rungs = len(ladder(robot.limits))
    for load in (1, 4, 1, 4, 0.25):
        before = robot.controller.num_changes
        robot.run(200, load)
        settled = robot.controller.num_changes
        assert settled - before <= num_rungs
        robot.run(100, load)
        assert robot.controller.num_changes - settled <= 2  # a rare try of the rung above


@pytest.mark.parametrize("interval_ms", [133, 500])
@pytest.mark.parametrize("device", [GPU, SLOW_START, LINEAR], ids=["gpu", "slow start", "linear"])
def test_budget_is_used(device, interval_ms):
    limits = replace(LIMITS, budget_ms=150, k_min=2, k_max=64)
    outcomes = Robot(limits, interval_ms, device, noise=0.02).run(300)[100:]
    assert max(outcome.plan.num_steps for outcome in outcomes) < limits.k_max
    assert np.mean([outcome.latency_ms for outcome in outcomes]) >= 0.85 * limits.budget_ms
    assert inside(outcomes, limits.budget_ms) >= 0.98


@pytest.mark.parametrize(("budget_ms", "interval_ms"), [(300, 33), (200, 50), (400, 66)])
@pytest.mark.parametrize("device", [GPU, SLOW_START, LINEAR], ids=["gpu", "slow start", "linear"])
def test_budget_is_used_where_frames_queue(device, budget_ms, interval_ms):
    limits = replace(LIMITS, budget_ms=budget_ms, k_min=4, k_max=64)
    outcomes = Robot(limits, interval_ms, device, noise=0.02).run(300)[150:]
    assert np.mean([outcome.latency_ms for outcome in outcomes]) >= 0.85 * budget_ms


def test_budget_is_used_where_steps_are_coarse_and_frames_queue():
    outcomes = Robot(noise=0.02).run(300)[150:]  # a step is 3 % of the budget in this window and in the next one
    assert np.mean([outcome.latency_ms for outcome in outcomes]) >= 0.75 * LIMITS.budget_ms


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1])
def test_prediction_has_no_bias_and_its_percentile_is_honest(noise):
    limits = replace(LIMITS, budget_ms=150, k_min=2, k_max=64)
    outcomes = Robot(limits, 500, noise=noise).run(1300)[100:]
    errors = np.log([outcome.latency_ms / outcome.plan.predicted_ms for outcome in outcomes])
    assert abs(np.median(errors)) < 0.005 + 0.1 * noise
    assert 1.4826 * np.median(np.abs(errors)) < 0.005 + 1.2 * noise
    assert 0.985 < np.mean([outcome.latency_ms <= outcome.plan.percentile_ms for outcome in outcomes]) < 1.0


@pytest.mark.parametrize("load", [4.0, 0.25])
def test_a_new_load_is_learned_within_five_windows(load):
    robot = Robot(replace(LIMITS, budget_ms=600, k_min=2, k_max=64), 500, outliers=0.0)
    robot.run(60)
    robot.run(LEARNING_WINDOWS, load)
    errors = [math.log(o.latency_ms / o.plan.predicted_ms) for o in robot.run(20, load)]
    assert abs(np.mean(errors)) < 0.05
    assert max(np.abs(errors)) < 0.25


def test_both_parts_are_learned_once_k_varies():
    model, rng = LatencyModel(), np.random.default_rng(0)
    for _ in range(200):
        num_steps = int(rng.integers(4, 17))
        model.observe(5, 504, num_steps, (40 + 6 * num_steps) * math.exp(0.02 * rng.standard_normal()))
    for num_steps in (2, 8, 32):
        assert model.predict(5, 504, num_steps).median_ms == pytest.approx(40 + 6 * num_steps, rel=0.06)


def test_one_outlier_makes_the_next_plan_careful_and_moves_nothing():
    controller = BudgetController(replace(LIMITS, budget_ms=150, k_min=2, k_max=32))
    feed(controller, 60, step_ms=5.0)
    usual = controller.plan(4, 1, 0.0, 500.0).num_steps
    controller.observe(4, usual, 504, 3 * (10 + 5.0 * usual), 2.0)
    assert controller.plan(4, 1, 0.0, 500.0).num_steps < usual / 2
    feed(controller, 2, step_ms=5.0)
    assert controller.plan(4, 1, 0.0, 500.0).num_steps >= 0.8 * usual
    assert controller.num_changes == 0


def test_starts_with_k_min_until_something_is_known():
    plan = BudgetController(LIMITS).plan(2, 2, 40.0, 33.0)
    assert plan == Plan(LIMITS.k_min, predicted_ms=None, percentile_ms=None, fits=True)


def test_a_cold_device_does_not_cost_a_rung():
    controller = BudgetController(LIMITS)
    controller.plan(2, 2, 0.0, 500.0)
    controller.observe(2, LIMITS.k_min, 504, 4000.0, 0.0)
    feed(controller, 10, step_ms=5.0)
    assert controller.num_changes == 0
    assert controller.plan(4, 1, 0.0, 500.0).num_steps == LIMITS.k_max


def test_without_a_budget_always_k_max_and_the_full_window():
    robot = Robot(replace(LIMITS, budget_ms=0))
    outcomes = [outcome for load in (1, 4, 16) for outcome in robot.run(30, load)]
    assert {outcome.plan.num_steps for outcome in outcomes} == {LIMITS.k_max}
    assert {outcome.rung for outcome in outcomes} == {Rung(8, 504)}
    assert all(outcome.plan.fits for outcome in outcomes)
    assert outcomes[-1].plan.predicted_ms == pytest.approx(outcomes[-1].latency_ms, rel=0.3)


def test_a_budget_that_changes_takes_effect_with_the_next_window():
    controller = BudgetController(replace(LIMITS, budget_ms=0, k_min=2, k_max=32))
    feed(controller, 30, step_ms=5.0)
    controller.update(replace(LIMITS, budget_ms=120, k_min=2, k_max=32))
    tight = controller.plan(4, 1, 0.0, 500.0)
    assert tight.num_steps < 32
    assert tight.predicted_ms is not None  # what was learned stays, though little of other K than k_max
    feed(controller, 15, step_ms=5.0)
    learned = controller.plan(4, 1, 0.0, 500.0)
    assert tight.num_steps < learned.num_steps < 32
    assert learned.percentile_ms <= 120
    assert learned.predicted_ms == pytest.approx(10 + 5 * learned.num_steps + 2, rel=0.1)
    controller.update(replace(LIMITS, budget_ms=120, k_min=2, k_max=6))
    assert controller.plan(4, 1, 0.0, 500.0).num_steps == 6


def test_the_ladder_is_left_at_once_without_a_budget():
    robot = Robot()
    robot.run(100, load=4)
    assert robot.controller.rung != Rung(8, 504)
    robot.controller.update(replace(LIMITS, budget_ms=0))
    robot.run(1, load=4)
    assert robot.controller.rung == Rung(8, 504)
    assert "no latency budget" in robot.controller.ladder


def test_other_limits_begin_another_ladder_and_say_so():
    robot = Robot()
    robot.run(100, load=4)
    robot.controller.update(replace(LIMITS, image_size=252))
    assert robot.controller.rung == Rung(8, 252)
    assert str(robot.controller.last_change).endswith("to 8 frames at 252 pixels: other limits")


def test_what_the_node_adds_counts():
    limits = replace(LIMITS, budget_ms=150, k_min=2, k_max=64)
    cheap, dear = (Robot(limits, 500, noise=0.02, own_ms=own_ms).run(600)[50:] for own_ms in (2.0, 60.0))
    assert inside(dear, 150) >= 0.99
    assert dear[-1].rung == Rung(8, 504)
    assert np.mean([o.window_ms for o in cheap]) - np.mean([o.window_ms for o in dear]) > 40


def test_no_frames_are_lost_while_k_can_prevent_it():
    robot = Robot(replace(LIMITS, budget_ms=2000, k_min=1), noise=0.02, outliers=0.0)
    outcomes = robot.run(300)
    assert robot.num_dropped < 0.02 * len(robot.arrivals)
    assert max(outcome.plan.num_steps for outcome in outcomes[100:]) > 8


def test_a_long_wait_costs_steps_and_says_when_nothing_fits():
    controller = BudgetController(replace(LIMITS, budget_ms=150, k_min=2, k_max=32))
    feed(controller, 60, step_ms=5.0)
    plans = [controller.plan(4, 1, waited_ms, 500.0) for waited_ms in (0.0, 30.0, 80.0, 140.0)]
    chosen = [plan.num_steps for plan in plans]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > chosen[2]
    assert [plan.fits for plan in plans] == [True, True, True, False]
    assert chosen[3] == 2


@pytest.mark.parametrize("seen", [(4, 504), (8, 504), (8, 336)])
def test_windows_never_seen_cost_by_their_work(seen):
    model = LatencyModel()
    for _ in range(20):
        model.observe(*seen, 8, 100.0)
    by_views = [model.predict(views, 504, 8).median_ms for views in range(2, 13)]
    by_size = [model.predict(4, size, 8).median_ms for size in (252, 336, 420, 504)]
    assert by_views == sorted(by_views)
    assert by_size == sorted(by_size)
    assert 1.9 < by_views[6] / by_views[2] < 4.0  # 8 views and 4: between linear and quadratic
    other = (seen[0] + 1, seen[1])
    assert model.predict(*other, 8).doubt > model.predict(*seen, 8).doubt


def test_out_of_memory_shrinks_at_once_and_ends_with_false():
    controller, seen = BudgetController(replace(LIMITS, budget_ms=0)), []
    num_views = 5
    while controller.out_of_memory(num_views):
        assert controller.rung.window_size < num_views or controller.rung.image_size < 504
        seen.append(controller.rung)
        num_views = controller.rung.window_size
    assert seen[0] == Rung(4, 504)
    assert seen[-1] == ladder(LIMITS)[-1]
    assert "out of memory" in controller.ladder


def test_memory_is_tried_again_after_long_one_rung_and_twice_as_late_after_a_failure():
    controller = BudgetController(replace(LIMITS, budget_ms=0))
    feed(controller, 5, step_ms=5.0)
    assert controller.out_of_memory(8)
    assert controller.out_of_memory(6)  # the same failure, not a repeated one
    assert controller.rung == Rung(4, 504)
    feed(controller, MEMORY_PATIENCE - 1, step_ms=5.0)
    assert controller.rung == Rung(4, 504)
    feed(controller, 1, step_ms=5.0)
    assert controller.rung == Rung(6, 504)
    assert controller.out_of_memory(6)
    feed(controller, 2 * MEMORY_PATIENCE - 1, step_ms=5.0)
    assert controller.rung == Rung(4, 504)
    feed(controller, 1, step_ms=5.0)
    assert controller.rung == Rung(6, 504)


def test_a_budget_does_not_climb_above_what_memory_allows():
    robot = Robot(replace(LIMITS, budget_ms=2000))
    robot.run(10)
    assert robot.controller.out_of_memory(8)
    assert {outcome.rung for outcome in robot.run(300)} == {Rung(6, 504)}


@pytest.mark.parametrize("image_size", [56, 112, 252, 504, 518])
@pytest.mark.parametrize("window_size", [2, 3, 8, 64])
def test_ladder_goes_down_in_steps_that_the_network_takes(window_size, image_size):
    rungs = ladder(replace(LIMITS, window_size=window_size, window_overlap=1, image_size=image_size))
    assert rungs[0] == Rung(window_size, image_size)
    assert len(set(rungs)) == len(rungs)
    assert all(rung.image_size % 14 == 0 and rung.image_size >= 56 and rung.window_size >= 2 for rung in rungs)
    work = [rung.window_size * rung.image_size**2 for rung in rungs]
    assert work == sorted(work, reverse=True)
    assert rungs[-1].window_size == 2
    assert rungs[-1].image_size <= max(56, 0.56 * image_size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_ms": -1.0}, "budget_ms must be 0 or more"),
        ({"budget_ms": math.nan}, "budget_ms must be 0 or more"),
        ({"k_min": 0}, "k_min and k_max must be 1 or more"),
        ({"k_min": 17}, "k_min and k_max .* in order, got 17 and 16"),
        ({"window_overlap": 8}, "below window_size 8, got 8"),
        ({"window_overlap": 0}, "window_overlap must be from 1"),
        ({"image_size": 500}, "image_size must be a positive multiple of 14, got 500"),
    ],
)
def test_limits_refuse(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(LIMITS, **change)


def test_a_rehearsal_gives_the_first_window_an_estimate():
    controller = BudgetController(LIMITS)
    controller.expect(2, LIMITS.k_min, 504, 4000.0)  # kernels are still being chosen
    controller.expect(2, LIMITS.k_min, 504, 10.0)
    plan = controller.plan(2, 2, 0.0, None)
    assert plan.num_steps > LIMITS.k_min  # there is room
    assert plan.predicted_ms < 30
    assert controller.plan(8, 8, 0.0, None).predicted_ms > 2 * plan.predicted_ms
    slow = BudgetController(LIMITS)
    slow.expect(2, LIMITS.k_min, 504, 200.0)
    assert slow.plan(2, 2, 0.0, None).num_steps == LIMITS.k_min
