"""A window's refinement within a limit of time: parts that do not fit are left out, and the report names them.

The clock is a simulated one, so that nothing depends on how busy the machine is.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from textured_room import is_networks, network, walk

from dvlt_ros.refinement import WindowRefiner, time_limit
from dvlt_ros.refinement.time_limit import EXTRA, PartCosts, TimeLimit

POSES = walk(6, step=0.1)
PARTS_IN_ORDER = ("tracking", "adjustment", "check", "depth")


class Clock:
    """Each part takes as long as ``costs_ms`` say; the rest takes no time."""

    def __init__(self):
        self.now_s = 0.0

    def pass_ms(self, milliseconds):
        self.now_s += 1e-3 * milliseconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(perf_counter=lambda: made.now_s))
    return made


def with_costs(monkeypatch, clock, costs_ms):
    """Every part that begins takes its time per frame; returns the parts that ran."""
    ran = []
    plain = TimeLimit.took

    def took(self, part, frames):
        ran.append(part)
        clock.pass_ms(costs_ms[part] * frames)
        plain(self, part, frames)

    monkeypatch.setattr(TimeLimit, "took", took)
    return ran


COSTS_MS = {
    "tracking": 2.0, "adjustment": 5.0, "another start": 4.0, "check": 1.0, "descriptors": 50.0, "depth": 2.0,
    "dense depth": 30.0,
}  # fmt: skip


def test_without_a_limit_nothing_is_left_out_and_a_generous_one_changes_no_bit(images):
    answer = network(POSES, turn=0.05, shift=0.1, bend=0.1)
    free, generous = (WindowRefiner().refine(images, answer, **limit) for limit in ({}, {"limit_ms": 1e9}))
    assert free.report.left_out == generous.report.left_out == ()
    for name in ("depth", "confidence", "window_from_cam", "covariance", "intrinsics"):
        assert np.array_equal(getattr(free, name), getattr(generous, name), equal_nan=True), name


def test_the_limit_is_kept_but_for_one_part(images, clock, monkeypatch):
    ran = with_costs(monkeypatch, clock, COSTS_MS)
    refiner, answer = WindowRefiner(), network(POSES, turn=0.05, shift=0.1)
    states = {}
    for limit_ms in (1e6, *range(0, 160, 8)):
        refiner.reset()
        ran.clear()
        start_s = clock.now_s
        report = refiner.refine(images, answer, limit_ms=limit_ms).report
        spent_ms = 1e3 * (clock.now_s - start_s)
        assert spent_ms <= limit_ms + max((COSTS_MS[part] * 6 for part in ran), default=0.0)
        assert (report.reason == "no time left") == (report.state == "kept")
        states[limit_ms] = report.state
    assert states[1e6] == "refined"
    assert states[0] == "kept"
    assert states[152] == "refined"


def test_the_dearest_parts_are_left_out_first(images, clock, monkeypatch):
    ran = with_costs(monkeypatch, clock, COSTS_MS)
    refiner, answer = WindowRefiner(), network(POSES, turn=0.05, shift=0.1)
    refiner.refine(images, answer)
    assert [part for part in ran if part != "another start"] == [*PARTS_IN_ORDER, "dense depth"]
    assert "another start" in ran  # a first window tries one in any case
    needed_ms = 6 * sum(COSTS_MS[part] for part in PARTS_IN_ORDER)
    refiner.reset()
    ran.clear()
    refined = refiner.refine(images, answer, limit_ms=needed_ms + 1)
    assert refined.report.state == "refined"
    assert "dense depth" not in ran
    assert refined.report.left_out == ("another start",)
    refiner.reset()
    refined = refiner.refine(images, answer, limit_ms=needed_ms - 1)
    assert is_networks(refined, answer)
    assert refined.report.reason == "no time left"
    assert refined.report.detail == "adjustment: 47 ms remained, 48 needed"
    assert refined.report.left_out == ("adjustment",)


def test_frames_that_were_not_followed_are_followed_in_the_next_window(images, clock, monkeypatch):
    with_costs(monkeypatch, clock, COSTS_MS)
    refiner, answer = WindowRefiner(), network(POSES, turn=0.05, shift=0.1)
    refused = refiner.refine(images, answer, limit_ms=0.0)
    assert refused.report.left_out == ("tracking",)
    assert refiner.refine(images, answer).report.state == "refined"


def test_what_is_left_out_is_tried_again(clock):
    costs = PartCosts()
    costs.learn("adjustment", 4, 400.0)
    assert costs.usual_ms("adjustment", 8) == pytest.approx(800.0)
    windows = 0
    while not TimeLimit(costs, 500.0).allows("adjustment", 8):
        windows += 1
    assert 5 < windows < 40
    costs.learn("adjustment", 8, 80.0)
    assert costs.usual_ms("adjustment", 8) < 500


def test_a_part_that_once_took_long_ends_no_other_for_good(clock):
    costs = PartCosts()
    for part in ("adjustment", "check", "depth"):
        costs.learn(part, 8, 16.0)
    costs.learn("depth", 8, 4000.0)
    costs.learn("depth", 8, 4000.0)
    following = (("check", 8), ("depth", 8))
    windows = 0
    while not TimeLimit(costs, 500.0).allows("adjustment", 8, following):
        windows += 1
        assert windows < 200
    assert windows > 20
    costs.learn("depth", 8, 16.0)
    assert costs.usual_ms("adjustment", 8) > 0.1


@pytest.mark.parametrize("extra", sorted(EXTRA))
def test_what_runs_without_an_extra_is_not_thought_cheaper_for_it(clock, extra):
    costs = PartCosts()
    for part in (extra, "depth"):
        costs.learn(part, 8, 16.0)
    assert not TimeLimit(costs, 20.0).allows(extra, 8, (("depth", 8),))
    assert costs.usual_ms("depth", 8) == pytest.approx(16.0)
    assert costs.usual_ms(extra, 8) < 16.0


def test_a_part_whose_time_varies_needs_more(clock):
    steady, varying = PartCosts(), PartCosts()
    for i in range(40):
        steady.learn("depth", 2, 20.0)
        varying.learn("depth", 2, 10.0 if i % 2 else 30.0)
    assert steady.most_ms("depth", 2) == pytest.approx(20.0, rel=0.01)
    assert varying.most_ms("depth", 2) > 30.0
    assert varying.usual_ms("depth", 2) == pytest.approx(20.0, rel=0.2)
