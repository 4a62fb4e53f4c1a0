"""What gives way where K alone cannot keep the budget, and how it comes back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from busy_device import DEVICES, LEARNING_WINDOWS, LIMITS, Device, Robot, feed, inside

from dvlt_ros.engine.budget import BudgetController
from dvlt_ros.engine.ladder import MEMORY_PATIENCE, Rung, rungs_within


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
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
    rungs = rungs_within(robot.limits)
    down = [outcome.rung for load in (1, 4, 16) for outcome in robot.run(60, load)]
    assert down[-1].image_size < LIMITS.image_size
    assert down[-1].window_size == 2
    up = [outcome.rung for load in (4, 1, 0.25) for outcome in robot.run(150, load)]
    assert up[-1] == rungs[0]
    places = [rungs.index(rung) for rung in up]
    assert max(a - b for a, b in itertools.pairwise(places)) == 1  # climbs rung by rung
    assert robot.controller.ladder.last_change is not None
    assert "would take only" in str(robot.controller.ladder)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("interval_ms", [33, 100, 500])
def test_ladder_does_not_oscillate(device, interval_ms):
    robot = Robot(interval_ms=interval_ms, device=device)
    num_rungs = len(rungs_within(robot.limits))
    for load in (1, 4, 1, 4, 0.25):
        before = robot.controller.ladder.num_changes
        robot.run(200, load)
        settled = robot.controller.ladder.num_changes
        assert settled - before <= num_rungs
        robot.run(100, load)
        assert robot.controller.ladder.num_changes - settled <= 2  # a rare try of the rung above


@pytest.mark.parametrize("image_size", [56, 112, 252, 504, 518])
@pytest.mark.parametrize("window_size", [2, 3, 8, 64])
def test_ladder_goes_down_in_steps_that_the_network_takes(window_size, image_size):
    rungs = rungs_within(replace(LIMITS, window_size=window_size, window_overlap=1, image_size=image_size))
    assert rungs[0] == Rung(window_size, image_size)
    assert len(set(rungs)) == len(rungs)
    assert all(rung.image_size % 14 == 0 and rung.image_size >= 56 and rung.window_size >= 2 for rung in rungs)
    work = [rung.window_size * rung.image_size**2 for rung in rungs]
    assert work == sorted(work, reverse=True)
    assert rungs[-1].window_size == 2
    assert rungs[-1].image_size <= max(56, 0.56 * image_size)


def test_a_cold_device_does_not_cost_a_rung():
    controller = BudgetController(LIMITS)
    controller.plan(2, 2, 0.0, 500.0)
    controller.observe(2, LIMITS.k_min, 504, 4000.0, 0.0)
    feed(controller, 10, step_ms=5.0)
    assert controller.ladder.num_changes == 0
    assert controller.plan(4, 1, 0.0, 500.0).num_steps == LIMITS.k_max


def test_the_ladder_is_left_at_once_without_a_budget():
    robot = Robot()
    robot.run(100, load=4)
    assert robot.controller.rung != Rung(8, 504)
    robot.controller.update(replace(LIMITS, budget_ms=0))
    robot.run(1, load=4)
    assert robot.controller.rung == Rung(8, 504)
    assert "no latency budget" in str(robot.controller.ladder)


def test_other_limits_begin_another_ladder_and_say_so():
    robot = Robot()
    robot.run(100, load=4)
    robot.controller.update(replace(LIMITS, image_size=252))
    assert robot.controller.rung == Rung(8, 252)
    assert str(robot.controller.ladder.last_change).endswith("to 8 frames at 252 pixels: other limits")


def test_out_of_memory_shrinks_at_once_and_ends_with_false():
    controller, seen = BudgetController(replace(LIMITS, budget_ms=0)), []
    num_views = 5
    while controller.out_of_memory(num_views):
        assert controller.rung.window_size < num_views or controller.rung.image_size < 504
        seen.append(controller.rung)
        num_views = controller.rung.window_size
    assert seen[0] == Rung(4, 504)
    assert seen[-1] == rungs_within(LIMITS)[-1]
    assert "out of memory" in str(controller.ladder)


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
