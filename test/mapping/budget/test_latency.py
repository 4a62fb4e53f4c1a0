"""What windows are expected to take: honest, quick to learn, and not misled by an outlier."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from busy_device import LEARNING_WINDOWS, LIMITS, Robot, feed

from dvlt_ros.mapping.budget.controller import BudgetController
from dvlt_ros.mapping.budget.latency import LatencyModel


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


def test_one_outlier_makes_the_next_plan_careful_and_moves_nothing():
    controller = BudgetController(replace(LIMITS, budget_ms=150, k_min=2, k_max=32))
    feed(controller, 60, step_ms=5.0)
    usual = controller.plan(4, 1, 0.0, 500.0).num_steps
    controller.observe(4, usual, 504, 3 * (10 + 5.0 * usual), 2.0)
    assert controller.plan(4, 1, 0.0, 500.0).num_steps < usual / 2
    feed(controller, 2, step_ms=5.0)
    assert controller.plan(4, 1, 0.0, 500.0).num_steps >= 0.8 * usual
    assert controller.quality_levels.num_changes == 0


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
