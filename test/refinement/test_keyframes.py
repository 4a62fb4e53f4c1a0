"""Keyframes adjusted together: a drift of poses and units that no two neighbours show is taken back."""

from __future__ import annotations

import numpy as np
import pytest
from simulation.keyframes import DEVIATION, FRAMES, POINTS, drifted, scene

from dvlt_ros.errors import InputError
from dvlt_ros.refinement import Keyframe
from dvlt_ros.refinement.keyframes import adjusted_together, latest_run


def aligned(poses, truth):
    """Root mean square of the positions after one factor and shift; the turns are right from the start."""
    centred, true = (p[:, :3, 3] - p[:, :3, 3].mean(axis=0) for p in (poses, truth))
    factor = (centred * true).sum() / np.square(centred).sum()
    return np.sqrt(np.square(factor * centred - true).sum(axis=1).mean())


def test_a_drift_of_the_unit_is_taken_back():
    truth, keyframes = scene(np.random.default_rng(0))
    begin, growing = drifted(truth)
    poses, units = adjusted_together(keyframes, begin, growing)
    assert aligned(begin, truth) > 0.02
    assert aligned(poses, truth) < 0.004
    assert np.ptp(np.log(growing)) > 0.3
    assert np.ptp(np.log(units)) < 0.02


def test_what_is_right_stays():
    truth, keyframes = scene(np.random.default_rng(1), noise=0.0)
    poses, units = adjusted_together(keyframes, truth, np.ones(FRAMES))
    np.testing.assert_allclose(poses, truth, atol=1e-5)
    np.testing.assert_allclose(units, 1.0, atol=1e-5)


def test_the_unit_of_a_keyframe_is_its_own():
    """Depths may come in any unit: only poses and the world's unit count."""
    truth, keyframes = scene(np.random.default_rng(2))
    own = np.geomspace(0.5, 3.0, FRAMES)
    scaled = [Keyframe(k.tracks, k.seen, k.depth / u, k.deviation) for k, u in zip(keyframes, own, strict=True)]
    poses, units = adjusted_together(scaled, truth, own)
    assert aligned(poses, truth) < 0.004
    np.testing.assert_allclose(units / own, np.median(units / own), rtol=0.01)


def test_tracks_that_agree_with_no_poses_are_not_believed():
    rng = np.random.default_rng(3)
    truth, keyframes = scene(rng)
    mixed = [Keyframe(k.tracks, rng.permutation(k.seen), k.depth, k.deviation) for k in keyframes]
    assert adjusted_together(mixed, truth, np.ones(FRAMES)) is None


def test_what_lies_behind_a_keyframe_that_too_few_sights_fit_is_left_out():
    rng = np.random.default_rng(5)
    truth, keyframes = scene(rng)
    begin, growing = drifted(truth)
    torn = keyframes[4]
    moved = rng.uniform(-0.5, 0.5, torn.seen.shape)
    keyframes[4] = Keyframe(torn.tracks, moved, torn.depth, torn.deviation)
    poses, units = adjusted_together(keyframes, begin, growing)
    assert len(poses) == len(units) == FRAMES - 5
    assert aligned(poses, truth[5:]) < 0.004


def test_the_latest_run_ends_where_too_few_tracks_go_on():
    _, keyframes = scene(np.random.default_rng(4))
    first = keyframes[5]
    keyframes[5] = Keyframe(first.tracks + POINTS, first.seen, first.depth, first.deviation)
    assert latest_run(keyframes) == FRAMES - 6
    assert latest_run(keyframes[:5]) == 5
    assert latest_run(keyframes[:1]) == 1
    assert latest_run([]) == 0


@pytest.mark.parametrize("tracks", [[2, 1], [1, 1], [1, 2, 3]])
def test_a_keyframe_has_each_track_once_and_in_order(tracks):
    with pytest.raises(InputError, match="ascending order"):
        Keyframe(np.array(tracks), np.zeros((2, 2)), np.ones(2), DEVIATION)
