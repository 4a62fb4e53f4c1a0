"""What gives way where K alone cannot keep the budget, and how it comes back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from busy_device import DEVICES, LEARNING_WINDOWS, LIMITS, Device, Robot, feed, inside

from dvlt_ros.mapping.budget.controller import BudgetController
from dvlt_ros.mapping.budget.quality_levels import MEMORY_PATIENCE, QualityLevel, levels_within


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_k_takes_its_whole_range_and_the_ladder_goes_down_and_comes_back(device):
    robot = Robot(device=device, noise=0.03)
    stages = [robot.run(200, load) for load in (1, 4, 0.25, 1)]
    chosen = {outcome.plan.num_steps for stage in stages for outcome in stage}
    assert {LIMITS.k_min, LIMITS.k_max} <= chosen
    assert any(LIMITS.k_min < num_steps < LIMITS.k_max for num_steps in chosen)
    assert stages[1][-1].level.window_size < LIMITS.window_size
    assert stages[2][-1].level == QualityLevel(LIMITS.window_size, LIMITS.image_size)
    assert inside([o for stage in stages for o in stage[LEARNING_WINDOWS:]], LIMITS.budget_ms) >= 0.99


def test_window_shrinks_before_the_resolution_one_rung_per_window_and_both_come_back():
    robot = Robot(replace(LIMITS, budget_ms=120), interval_ms=100, device=Device((2.0, 1.0), (1.0, 0.05)))
    levels = levels_within(robot.limits)
    down = [outcome.level for load in (1, 4, 16) for outcome in robot.run(60, load)]
    assert down[-1].image_size < LIMITS.image_size
    assert down[-1].window_size == 2
    up = [outcome.level for load in (4, 1, 0.25) for outcome in robot.run(150, load)]
    assert up[-1] == levels[0]
    places = [levels.index(level) for level in up]
    assert max(a - b for a, b in itertools.pairwise(places)) == 1  # climbs level by level
    assert robot.controller.quality_levels.last_change is not None
    assert "would take only" in str(robot.controller.quality_levels)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("interval_ms", [33, 100, 500])
def test_ladder_does_not_oscillate(device, interval_ms):
    robot = Robot(interval_ms=interval_ms, device=device)
    num_rungs = len(levels_within(robot.limits))
    for load in (1, 4, 1, 4, 0.25):
        before = robot.controller.quality_levels.num_changes
        robot.run(200, load)
        settled = robot.controller.quality_levels.num_changes
        assert settled - before <= num_rungs
        robot.run(100, load)
        assert robot.controller.quality_levels.num_changes - settled <= 2  # a rare try of the level above


@pytest.mark.parametrize("image_size", [56, 112, 252, 504, 518])
@pytest.mark.parametrize("window_size", [2, 3, 8, 64])
def test_ladder_goes_down_in_steps_that_the_network_takes(window_size, image_size):
    levels = levels_within(replace(LIMITS, window_size=window_size, window_overlap=1, image_size=image_size))
    assert levels[0] == QualityLevel(window_size, image_size)
    assert len(set(levels)) == len(levels)
    assert all(level.image_size % 14 == 0 and level.image_size >= 56 and level.window_size >= 2 for level in levels)
    work = [level.window_size * level.image_size**2 for level in levels]
    assert work == sorted(work, reverse=True)
    assert levels[-1].window_size == 2
    assert levels[-1].image_size <= max(56, 0.56 * image_size)


def test_a_cold_device_does_not_cost_a_rung():
    controller = BudgetController(LIMITS)
    controller.plan(2, 2, 0.0, 500.0)
    controller.observe(2, LIMITS.k_min, 504, 4000.0, 0.0)
    feed(controller, 10, step_ms=5.0)
    assert controller.quality_levels.num_changes == 0
    assert controller.plan(4, 1, 0.0, 500.0).num_steps == LIMITS.k_max


def test_the_ladder_is_left_at_once_without_a_budget():
    robot = Robot()
    robot.run(100, load=4)
    assert robot.controller.level != QualityLevel(8, 504)
    robot.controller.update(replace(LIMITS, budget_ms=0))
    robot.run(1, load=4)
    assert robot.controller.level == QualityLevel(8, 504)
    assert "no latency budget" in str(robot.controller.quality_levels)


def test_other_limits_begin_another_ladder_and_say_so():
    robot = Robot()
    robot.run(100, load=4)
    robot.controller.update(replace(LIMITS, image_size=252))
    assert robot.controller.level == QualityLevel(8, 252)
    assert str(robot.controller.quality_levels.last_change).endswith("to 8 frames at 252 pixels: other limits")


def test_out_of_memory_shrinks_at_once_and_ends_with_false():
    controller, seen = BudgetController(replace(LIMITS, budget_ms=0)), []
    num_views = 5
    while controller.out_of_memory(num_views):
        assert controller.level.window_size < num_views or controller.level.image_size < 504
        seen.append(controller.level)
        num_views = controller.level.window_size
    assert seen[0] == QualityLevel(4, 504)
    assert seen[-1] == levels_within(LIMITS)[-1]
    assert "out of memory" in str(controller.quality_levels)


def test_memory_is_tried_again_after_long_one_rung_and_twice_as_late_after_a_failure():
    controller = BudgetController(replace(LIMITS, budget_ms=0))
    feed(controller, 5, step_ms=5.0)
    assert controller.out_of_memory(8)
    assert controller.out_of_memory(6)  # the same failure, not a repeated one
    assert controller.level == QualityLevel(4, 504)
    feed(controller, MEMORY_PATIENCE - 1, step_ms=5.0)
    assert controller.level == QualityLevel(4, 504)
    feed(controller, 1, step_ms=5.0)
    assert controller.level == QualityLevel(6, 504)
    assert controller.out_of_memory(6)
    feed(controller, 2 * MEMORY_PATIENCE - 1, step_ms=5.0)
    assert controller.level == QualityLevel(4, 504)
    feed(controller, 1, step_ms=5.0)
    assert controller.level == QualityLevel(6, 504)


def test_a_budget_does_not_climb_above_what_memory_allows():
    robot = Robot(replace(LIMITS, budget_ms=2000))
    robot.run(10)
    assert robot.controller.out_of_memory(8)
    assert {outcome.level for outcome in robot.run(300)} == {QualityLevel(6, 504)}
