"""Depth that agrees with points: how far a correction reaches, and what changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dvlt_ros.refinement.depth import corrected
from dvlt_ros.refinement.window import NetworkAnswer

HEIGHT, WIDTH, POINTS = 60, 80, 60


def answer(depth):
    maps = np.broadcast_to(np.asarray(depth, dtype=np.float32), (1, HEIGHT, WIDTH)).copy()
    return NetworkAnswer(maps, np.full_like(maps, 2.0), np.eye(4)[None], np.eye(3)[None], (0.5, 0.5), (0.0, 0.0))


def points(where=None, seed=0, count=POINTS):
    """Pixels (P, 1, 2) of images of twice the maps' size, within a share of the width."""
    low, high = where or (0.0, 1.0)
    rng = np.random.default_rng(seed)
    columns, rows = rng.uniform(low * WIDTH + 1, high * WIDTH - 1, count), rng.uniform(1, HEIGHT - 1, count)
    return 2 * np.stack([columns, rows], axis=-1)[:, None]


def run(network, pixels, true, fits=None, deviation=0.01):
    """``true``: depth of the points (P,)."""
    fits = np.ones((len(pixels), 1), dtype=bool) if fits is None else fits
    return corrected(network, pixels, true[:, None], fits, np.full(len(pixels), deviation), 1.0)


def test_one_scale_for_the_whole_frame():
    depth, confidence = run(answer(2.0), points(), np.full(POINTS, 3.0))
    assert depth == pytest.approx(3.0, rel=0.01)
    assert confidence.min() >= 2.0
    assert confidence.max() <= 4.0


def test_a_bend_is_straightened_where_points_are_and_the_scale_kept_where_none_are():
    bend = np.exp(0.3 * np.linspace(-1, 1, WIDTH))
    pixels = points((0.0, 0.5), count=150)
    depth, confidence = run(answer(2.0 / bend), pixels, np.full(150, 2.0))
    assert np.abs(depth[0, 10:50, 8:32] / 2 - 1).max() < 0.06
    assert confidence[0, 30, 20] > 2.5  # points confirm it there
    assert confidence[0, 30, 75] == pytest.approx(2.0, abs=0.1)  # and not there


def test_outliers_change_nothing():
    pixels, true = points(), np.full(POINTS, 2.0)
    true[::6] = 9.0
    depth, _ = run(answer(2.0), pixels, true)
    assert np.median(np.abs(depth / 2 - 1)) < 0.02
    assert np.abs(depth / 2 - 1).max() < 0.1


def test_points_that_are_wrong_by_chance_hardly_bend_a_map_that_is_right():
    """Their motion was wrong, say: each is off by 15 %, though all claim to be exact."""
    true = 2.0 * np.exp(np.random.default_rng(5).normal(0, 0.15, POINTS))
    depth, _ = run(answer(2.0), points(), true)
    assert np.sqrt(np.mean(np.square(np.log(depth / np.median(depth))))) < 0.05


def test_sights_that_do_not_fit_change_nothing():
    pixels, true = points(), np.full(POINTS, 2.0)
    fits = np.ones((POINTS, 1), dtype=bool)
    fits[::3], true[::3] = False, 0.5
    depth, _ = run(answer(2.0), pixels, true, fits)
    assert np.abs(depth / 2 - 1).max() < 0.01


def test_points_on_an_occlusion_edge_change_nothing():
    steps = np.where(np.arange(WIDTH) < WIDTH // 2, 2.0, 4.0)
    on_edge = points(count=40, seed=1)
    on_edge[..., 0] = WIDTH + np.random.default_rng(0).uniform(-1.5, 1.5, (40, 1))
    both = np.concatenate([points((0.0, 0.45)), on_edge])
    true = np.concatenate([np.full(POINTS, 2.0), np.full(40, 2.0)])  # the tracks hang on to the nearer side
    depth, _ = run(answer(steps), both, true)
    assert np.abs(depth[0] / steps - 1).max() < 0.05


def test_surfaces_at_different_depths_keep_their_own_corrections():
    near = (np.arange(WIDTH) // 10) % 2 == 0
    mapped = np.where(near, 1.5, 4.0)
    pixels = points(count=400, seed=3)
    own = near[(pixels[:, 0, 0] / 2).astype(int)]
    depth, _ = run(answer(mapped), pixels, np.where(own, 1.5 * 1.2, 4.0 * 0.85))
    assert np.median(depth[0][:, near]) == pytest.approx(1.8, rel=0.04)
    assert np.median(depth[0][:, ~near]) == pytest.approx(3.4, rel=0.04)


def test_few_points_or_uncertain_ones_leave_the_map_as_it_is():
    network = answer(2.0)
    for pixels, deviation in ((points(count=4), 0.01), (points(), 1.0)):
        depth, confidence = run(network, pixels, np.full(len(pixels), 3.0), deviation=deviation)
        assert np.array_equal(depth, network.depth)
        assert np.array_equal(confidence, network.confidence)


def test_nan_stays_nan_and_reaches_no_other_pixel():
    network = answer(2.0)
    network.depth[0, 20:30, 20:30] = np.nan
    depth, confidence = run(network, points(), np.full(POINTS, 3.0))
    assert np.isnan(depth).sum() == 100
    assert np.nanmax(np.abs(depth / 3 - 1)) < 0.02
    assert np.isfinite(confidence).all()
