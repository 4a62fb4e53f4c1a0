"""The scale over many windows: unknown, estimated, locked."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.alignment import Sim3
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.scale.estimator import MetricScaleEstimator, ScaleConfig, rescale_about
from dvlt_ros.mapping.scale.observations import (
    NoObservation,
    ScaleObservation,
    scale_from_odometry,
)

SECOND_NS = 10**9


def observation(scale, source="odometry", spread=0.01, residual=0.03):
    return ScaleObservation(source, math.log(scale), spread, residual)


def locked_scale(value=2.0, windows=10, **changes):
    """A scale that ten windows, one second apart, have agreed on."""
    scale = MetricScaleEstimator(ScaleConfig(**changes))
    for window in range(windows):
        scale.observe(0, window * SECOND_NS, [observation(value)])
    assert scale.status.state == "locked"
    return scale


def test_the_scale_is_unknown_then_estimated_then_locked():
    scale, states = MetricScaleEstimator(ScaleConfig(min_windows=4)), []
    assert (scale.status.state, scale.status.metres_per_unit) == ("unknown", None)
    for window in range(6):
        findings = [NoObservation("odometry", "standing still")] if window == 0 else [observation(2.0)]
        status = scale.observe(0, window * SECOND_NS, findings)
        states.append(status.state)
        if window == 0:
            assert status.reason == "odometry: standing still"
            assert status.metres_per_unit is None
        elif status.state == "estimating":
            assert status.reason == f"{window} of 4 windows"
    assert states == ["unknown", "estimating", "estimating", "estimating", "locked", "locked"]
    assert scale.status.metres_per_unit == pytest.approx(2.0)
    assert (scale.status.source, scale.status.reason, scale.status.locks) == ("odometry", "", 1)


def test_observations_that_contradict_each_other_are_not_locked():
    rng, scale = np.random.default_rng(0), MetricScaleEstimator()
    for window in range(20):
        status = scale.observe(0, window * SECOND_NS, [observation(math.exp(0.6 * rng.normal()))])
        assert status.state == "estimating"
    assert "is above" in status.reason


@given(st.floats(0.0, 0.03), st.floats(0.0, 0.02), st.integers(0, 10**6))
@settings(deadline=None, max_examples=10)
def test_a_drifting_unit_is_followed_smoothly(noise, drift, seed):
    """With 10 % of windows that are wrong by half."""
    rng, scale, config = np.random.default_rng(seed), MetricScaleEstimator(), ScaleConfig()
    log_unit, errors, before = 0.0, [], None
    for window in range(80):
        log_unit += drift * rng.normal()
        wrong = 0.5 * rng.normal() if rng.uniform() < 0.1 else 0.0
        found = observation(math.exp(log_unit + noise * rng.normal() + wrong))
        status = scale.observe(0, window * SECOND_NS, [found])
        if before is not None and before.state == status.state == "locked":
            step = abs(math.log(status.metres_per_unit / before.metres_per_unit))
            assert step <= config.max_rate * 1.0 + 1e-9
        before = status
        if status.state == "locked" and window > 20:
            errors.append(math.log(status.metres_per_unit) - log_unit)
    assert len(errors) > 40
    # 0.008: a steady drift is reckoned with, which costs a little where there is none.
    assert np.sqrt(np.mean(np.square(errors))) < 0.008 + drift + 1.5 * math.sqrt(max(noise, 0.01) * max(drift, 0.003))


def test_a_lock_that_windows_contradict_for_long_is_lost():
    scale, states = locked_scale(patience_s=10.0), []
    for window in range(10, 40):
        states.append(scale.observe(0, window * SECOND_NS, [observation(3.0)]))
        if states[-1].state != "locked":
            break
        assert states[-1].metres_per_unit == pytest.approx(2.0, rel=0.11)
    assert 10 <= len(states) < 25
    assert "the lock is lost: the latest windows give 1." in states[-1].reason
    assert states[-1].metres_per_unit is None
    for again in range(40, 46):
        status = scale.observe(0, again * SECOND_NS, [observation(3.0)])
    assert (status.state, status.locks) == ("locked", 2)
    assert status.metres_per_unit == pytest.approx(3.0, rel=1e-3)


def test_a_lock_is_lost_when_windows_contradict_each_other():
    rng, scale = np.random.default_rng(0), locked_scale()
    for window in range(10, 60):
        status = scale.observe(0, window * SECOND_NS, [observation(2.0 * math.exp(rng.normal()))])
        if status.state != "locked":
            break
    assert status.reason.startswith("the lock is lost: ")


def test_a_few_wrong_windows_do_not_move_the_lock():
    scale = locked_scale()
    for window in range(10, 13):
        status = scale.observe(0, window * SECOND_NS, [observation(3.0)])
    status = scale.observe(0, 13 * SECOND_NS, [observation(2.0)])
    assert status.state == "locked"
    assert status.metres_per_unit == pytest.approx(2.0, rel=0.02)


def test_standing_still_keeps_the_lock_and_says_why_nothing_is_heard():
    scale = locked_scale()
    spread = scale.status.spread
    for window in range(10, 300):
        status = scale.observe(0, window * SECOND_NS, [NoObservation("odometry", "standing still")])
    assert (status.state, status.reason) == ("locked", "odometry: standing still")
    assert status.metres_per_unit == pytest.approx(2.0)
    assert status.spread > 3 * spread  # the unit may have drifted


def test_sources_that_disagree_are_a_status_and_sources_that_agree_lock():
    scale, agreeing = MetricScaleEstimator(), MetricScaleEstimator()
    for window in range(10):
        by_odometry = observation(2.0)
        status = scale.observe(0, window * SECOND_NS, [by_odometry, observation(2.3, "baseline")])
        both = agreeing.observe(0, window * SECOND_NS, [by_odometry, observation(2.02, "baseline")])
    assert status.state == "estimating"
    assert status.reason == "sources disagree: baseline gives 1.150 times the scale of odometry"
    assert (both.state, both.source) == ("locked", "odometry+baseline")
    assert both.metres_per_unit == pytest.approx(2.01, rel=2e-3)
    assert both.spread < locked_scale().status.spread


def test_a_source_that_does_not_fit_the_map_is_not_locked():
    scale = MetricScaleEstimator()
    for window in range(10):
        status = scale.observe(0, window * SECOND_NS, [observation(2.0, residual=0.5)])
    assert status.state == "estimating"
    assert "may know motion too coarsely (model.weights), or a time offset or mount may be wrong" in status.reason
    assert status.residual == pytest.approx(0.5)


def test_another_map_has_another_unit():
    scale = locked_scale()
    status = scale.observe(1, 11 * SECOND_NS, [NoObservation("odometry", "standing still")])
    assert (status.state, status.metres_per_unit, status.locks) == ("unknown", None, 1)


def test_its_memory_is_bounded():
    scale = locked_scale(windows=500)
    assert sum(len(track._observations) for track in scale._tracks.values()) <= 30


@given(st.integers(0, 10**6), st.floats(0.5, 2.0))
@settings(deadline=None, max_examples=20)
def test_a_change_of_scale_leaves_the_camera_where_it_is(seed, factor):
    rng = np.random.default_rng(seed)
    position, points = 300 * rng.normal(size=3), rng.normal(size=(5, 3))
    change = rescale_about(position, factor)
    np.testing.assert_allclose(change.apply(position), position, rtol=1e-12)
    before, after = (np.linalg.norm(found - position, axis=-1) for found in (points, change.apply(points)))
    np.testing.assert_allclose(after, factor * before, rtol=1e-12)
    window = Sim3.of(1.5, np.eye(3), position)
    assert float(change.compose(window).scale) == pytest.approx(1.5 * factor)


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match=r"scale\.min_windows must be at least 2"):
        ScaleConfig(min_windows=1)
    with pytest.raises(InputError, match="above 0"):
        rescale_about(np.zeros(3), -1.0)
    with pytest.raises(InputError, match=r"must both be \(S, 4, 4\)"):
        scale_from_odometry(np.eye(4), np.eye(4))
