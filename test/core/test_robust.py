"""Means and spreads of which a third may be anything."""

import numpy as np
import pytest
import torch
from room import pose

from dvlt_ros.robust import deviation, mean_rotation, soften


def test_the_deviation_is_that_of_the_bulk():
    values = np.random.default_rng(0).normal(3.0, 0.5, 2000)
    assert deviation(values, 3.0) == pytest.approx(0.5, rel=0.05)
    values[:200] = 1e6
    assert deviation(values, 3.0) == pytest.approx(0.5, rel=0.2)


def test_weights_fall_with_the_residual_for_arrays_and_tensors_alike():
    residual, weights = np.array([0.0, -1.0, 2.0, 100.0]), np.array([1.0, 1.0, 1.0, 5.0])
    share = soften(residual, 1.0)
    assert share.sum() == pytest.approx(1.0)
    assert share[2] == pytest.approx(share[0] / 4)  # two typical residuals away
    assert share[3] < 1e-5 < share[1] < share[0]
    given = soften(residual, 1.0, weights)
    np.testing.assert_allclose(given, weights * share / (weights @ share))
    found = soften(torch.from_numpy(residual), 1.0, torch.from_numpy(weights))
    np.testing.assert_allclose(found.numpy(), given, rtol=1e-12)
    np.testing.assert_allclose(soften(np.zeros(4), 0.0), 0.25)  # exact data


def test_a_rotation_that_is_wrong_does_not_turn_the_mean():
    yaws = [0.30, 0.31, 0.29, 0.30, 2.5]
    found = mean_rotation(np.stack([pose((0, 0, 0), yaw)[:3, :3] for yaw in yaws]))
    np.testing.assert_allclose(found, pose((0, 0, 0), 0.3)[:3, :3], atol=5e-3)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(found) == pytest.approx(1.0)
