"""The present value of a random walk."""

import numpy as np
import pytest

from dvlt_ros.mapping.scale.random_walk import present_value


def test_the_present_of_a_random_walk_is_known_as_well_as_it_says():
    rng, age, spread = np.random.default_rng(0), np.arange(29.0, -1, -1), np.full(30, 0.01)
    errors, said = [], []
    for _ in range(200):
        walk = 0.01 * np.cumsum(rng.normal(size=30))
        found = present_value(age, walk + 0.01 * rng.normal(size=30), spread)
        errors.append(found.value - walk[-1])
        said.append(found.spread)
    assert np.std(errors) == pytest.approx(np.mean(said), rel=0.25)
    assert np.std(errors) < 0.009  # the last observation alone: 0.01


def test_a_walk_that_sets_out_after_a_long_rest_is_not_taken_for_noise():
    rng, age, spread = np.random.default_rng(0), np.arange(29.0, -1, -1), np.full(30, 0.01)
    walk = 0.01 * np.maximum(0, np.arange(30) - 23)
    behind = [walk[-1] - present_value(age, walk + 0.01 * rng.normal(size=30), spread).value for _ in range(200)]
    assert np.mean(behind) < 0.01  # it has gone 0.06
    assert np.quantile(behind, 0.95) < 0.02


def test_a_steady_drift_is_not_followed_late():
    rng, age, spread = np.random.default_rng(0), np.arange(29.0, -1, -1), np.full(30, 0.1)
    drift = 0.01 * np.arange(30)
    behind = [drift[-1] - present_value(age, drift + 0.1 * rng.normal(size=30), spread).value for _ in range(200)]
    assert np.mean(behind) < 0.01  # with steps that have nothing in common 0.05
