"""Refinement, which is beside the network, and the latency budget."""

from __future__ import annotations

import itertools

import numpy as np
from configs import mapper_config

from dvlt_ros.mapping.front_end.front_end import FrontEnd


def clock():
    """It advances by 1 ms with each reading."""
    ticks = itertools.count(0, 1_000_000)
    return lambda: next(ticks)


def run(front_end, make_frame, count):
    """The windows of so many frames, two new ones each."""
    windows = []
    for number in range(1, count + 1):
        front_end.admit(make_frame(number))
        if number % 2 == 0:
            windows.append(front_end.run())
    return windows


def test_what_is_beside_the_network_gets_what_the_budget_leaves_it(make_predictor, make_frame):
    predictor, limits_ms = make_predictor(), []
    predictor.beside_ms = 0.5
    predictor.usual_beside_ms = lambda num_views, num_new: 3.0 * num_views + num_new
    predictor.usual_joint_ms = lambda num_views: 0.0
    predictor.limit = limits_ms.append
    windows = run(FrontEnd(predictor, mapper_config(budget_latency_ms=500.0), clock_ns=clock()), make_frame, 8)
    assert len(limits_ms) == len(windows)
    for limit_ms, window in zip(limits_ms, windows, strict=True):
        assert 400 < limit_ms <= 500 - window.waited_ms  # registration and publication are still to come
    run(FrontEnd(predictor, mapper_config(), clock_ns=clock()), make_frame, 2)
    assert limits_ms[-1] == np.inf


def test_a_check_of_a_loop_gets_what_the_next_window_leaves(make_predictor, make_frame):
    class Loops:
        is_awaited, is_due, num_views = False, True, 6

        def __init__(self):
            self.num_steps = []

        def see(self, *_):
            return None

        def check(self, num_steps, _):
            self.num_steps.append(num_steps)

    predictor, limits_ms, loops = make_predictor(), [], Loops()
    predictor.beside_ms, predictor.limit = 0.5, limits_ms.append
    predictor.usual_beside_ms = lambda num_views, num_new: 1.0
    predictor.usual_joint_ms = lambda num_views: 100.0 * num_views
    front_end = FrontEnd(predictor, mapper_config(budget_latency_ms=500.0), loops=loops, clock_ns=clock())
    run(front_end, make_frame, 24)
    limits_ms.clear()
    front_end.check_loop(100.0)
    assert loops.num_steps == [predictor.max_steps]
    assert 300 < limits_ms[0] < 400
