"""K from the budget, against a simulated robot: the budget is kept, and it is used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from busy_device import DEVICES, LEARNING_WINDOWS, LIMITS, Robot, feed, inside

from dvlt_ros.mapping.budget.controller import BudgetController
from dvlt_ros.mapping.budget.plans import Plan
from dvlt_ros.mapping.budget.quality_levels import QualityLevel


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize(
    ("budget_ms", "interval_ms", "k_min", "k_max", "noise", "jitter"),
    [
        (250, 33, 8, 16, 0.02, 0.0),  # frames queue, the quality levels is needed
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


@pytest.mark.parametrize("interval_ms", [133, 500])
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_budget_is_used(device, interval_ms):
    limits = replace(LIMITS, budget_ms=150, k_min=2, k_max=64)
    outcomes = Robot(limits, interval_ms, device, noise=0.02).run(300)[100:]
    assert max(outcome.plan.num_steps for outcome in outcomes) < limits.k_max
    assert np.mean([outcome.latency_ms for outcome in outcomes]) >= 0.85 * limits.budget_ms
    assert inside(outcomes, limits.budget_ms) >= 0.98


@pytest.mark.parametrize(("budget_ms", "interval_ms"), [(300, 33), (200, 50), (400, 66)])
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_budget_is_used_where_frames_queue(device, budget_ms, interval_ms):
    limits = replace(LIMITS, budget_ms=budget_ms, k_min=4, k_max=64)
    outcomes = Robot(limits, interval_ms, device, noise=0.02).run(300)[150:]
    assert np.mean([outcome.latency_ms for outcome in outcomes]) >= 0.85 * budget_ms


def test_budget_is_used_where_steps_are_coarse_and_frames_queue():
    outcomes = Robot(noise=0.02).run(300)[150:]  # a step is 3 % of the budget in this window and in the next one
    assert np.mean([outcome.latency_ms for outcome in outcomes]) >= 0.75 * LIMITS.budget_ms


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize(("budget_ms", "interval_ms"), [(400, 66), (300, 200)])
def test_budget_is_kept_with_refinement_which_comes_before_more_steps(device, budget_ms, interval_ms):
    limits = replace(LIMITS, budget_ms=budget_ms, k_min=4, k_max=32)
    robot = Robot(limits, interval_ms, device, noise=0.05, refined_ms=8.0)
    kept = [robot.run(100, load)[LEARNING_WINDOWS:] for load in (1, 4, 1, 0.25, 1, 4, 1)]
    outcomes = [outcome for stage in kept for outcome in stage]
    assert inside(outcomes, budget_ms) >= 0.99
    assert np.mean([outcome.is_refined for outcome in outcomes]) > 0.9


def test_refinement_is_left_its_usual_time_and_no_more_than_the_budget():
    limits = replace(LIMITS, k_max=64)
    controller = BudgetController(limits, lambda views, new: 10.0 * views + 2.0 * new)
    plain = BudgetController(limits)
    for each in (controller, plain):
        feed(each, 30, step_ms=5.0)
    start = (4, 1, 20.0, 500.0)
    assert controller.plan(*start).num_steps < plain.plan(*start).num_steps
    spent_ms = controller.plan(*start).predicted_ms - 5.0 * controller.plan(*start).num_steps
    assert spent_ms == pytest.approx(plain.plan(*start).predicted_ms - 5.0 * plain.plan(*start).num_steps + 42, abs=3)
    assert 200 < controller.remaining_ms(20.0) < LIMITS.budget_ms - 20.0
    assert controller.remaining_ms(80.0) == pytest.approx(controller.remaining_ms(20.0) - 60.0)
    controller.update(replace(limits, budget_ms=0))
    assert controller.remaining_ms(20.0) == np.inf


def test_starts_with_k_min_until_something_is_known():
    plan = BudgetController(LIMITS).plan(2, 2, 40.0, 33.0)
    assert plan == Plan(LIMITS.k_min, predicted_ms=None, percentile_ms=None, fits=True)


def test_without_a_budget_always_k_max_and_the_full_window():
    robot = Robot(replace(LIMITS, budget_ms=0))
    outcomes = [outcome for load in (1, 4, 16) for outcome in robot.run(30, load)]
    assert {outcome.plan.num_steps for outcome in outcomes} == {LIMITS.k_max}
    assert {outcome.level for outcome in outcomes} == {QualityLevel(8, 504)}
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


def test_what_the_node_adds_counts():
    limits = replace(LIMITS, budget_ms=150, k_min=2, k_max=64)
    cheap, dear = (Robot(limits, 500, noise=0.02, overhead_ms=overhead_ms).run(600)[50:] for overhead_ms in (2.0, 60.0))
    assert inside(dear, 150) >= 0.99
    assert dear[-1].level == QualityLevel(8, 504)
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


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_reference_views_are_what_the_budget_has_time_for(device):
    limits = replace(LIMITS, k_min=4, k_max=6, references=4)
    robot = Robot(limits, 500, device, noise=0.02)
    used = {load: robot.run(100, load)[LEARNING_WINDOWS:] for load in (1, 4, 16, 1)}
    assert inside([outcome for stage in used.values() for outcome in stage], limits.budget_ms) >= 0.99
    assert {outcome.plan.references for outcome in used[16][20:]} == {1}
    assert max(outcome.plan.references for outcome in used[1]) > 1
    assert all(outcome.plan.num_steps == limits.k_max for outcome in used[1] if outcome.plan.references > 1)
