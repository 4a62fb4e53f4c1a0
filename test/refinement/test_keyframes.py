"""Keyframes adjusted together: a drift of poses and units that no two neighbours show is taken back."""

from __future__ import annotations

import numpy as np
import pytest
from simulation.keyframes import DEVIATION, FRAMES, POINTS, drifted, scene

from dvlt_ros.errors import InputError
from dvlt_ros.refinement import Keyframe
from dvlt_ros.refinement.keyframes import adjusted_together, latest_run, longest_run


def aligned(poses, truth):
    """Root mean square of the positions after one factor and shift; the turns are right from the start."""
    centred, true = (p[:, :3, 3] - p[:, :3, 3].mean(axis=0) for p in (poses, truth))
    factor = (centred * true).sum() / np.square(centred).sum()
    return np.sqrt(np.square(factor * centred - true).sum(axis=1).mean())


def test_a_drift_of_the_unit_is_taken_back():
    truth, keyframes = scene(np.random.default_rng(0))
    begin, growing = drifted(truth)
    found = adjusted_together(keyframes, begin, growing)
    assert found.told == slice(0, FRAMES)
    assert aligned(begin, truth) > 0.02
    assert aligned(found.poses, truth) < 0.004
    assert np.ptp(np.log(growing)) > 0.3
    assert np.ptp(np.log(found.unit)) < 0.02


def test_what_is_right_stays():
    truth, keyframes = scene(np.random.default_rng(1), noise=0.0)
    found = adjusted_together(keyframes, truth, np.ones(FRAMES))
    np.testing.assert_allclose(found.poses, truth, atol=1e-5)
    np.testing.assert_allclose(found.unit, 1.0, atol=1e-5)


def test_the_unit_of_a_keyframe_is_its_own():
    """Depths may come in any unit: only poses and the world's unit count."""
    truth, keyframes = scene(np.random.default_rng(2))
    own = np.geomspace(0.5, 3.0, FRAMES)
    scaled = [Keyframe(k.tracks, k.seen, k.depth / u, k.deviation) for k, u in zip(keyframes, own, strict=True)]
    found = adjusted_together(scaled, truth, own)
    assert aligned(found.poses, truth) < 0.004
    np.testing.assert_allclose(found.unit / own, np.median(found.unit / own), rtol=0.01)


def test_tracks_that_agree_with_no_poses_are_not_believed():
    rng = np.random.default_rng(3)
    truth, keyframes = scene(rng)
    mixed = [Keyframe(k.tracks, rng.permutation(k.seen), k.depth, k.deviation) for k in keyframes]
    assert adjusted_together(mixed, truth, np.ones(FRAMES)) is None


@pytest.mark.parametrize(("torn", "told"), [(4, slice(5, FRAMES)), (FRAMES - 1, slice(0, FRAMES - 1))])
def test_a_keyframe_that_too_few_sights_fit_parts_the_others_and_the_longer_part_counts(torn, told):
    rng = np.random.default_rng(5)
    truth, keyframes = scene(rng)
    begin, growing = drifted(truth)
    whole = keyframes[torn]
    moved = rng.uniform(-0.5, 0.5, whole.seen.shape)
    keyframes[torn] = Keyframe(whole.tracks, moved, whole.depth, whole.deviation)
    found = adjusted_together(keyframes, begin, growing)
    assert found.told == told
    assert len(found.poses) == len(found.unit) == told.stop - told.start
    assert aligned(found.poses, truth[told]) < 0.004


@pytest.mark.parametrize(
    ("chosen", "run"), [("110111", (3, 6)), ("111011", (0, 3)), ("11011", (3, 5)), ("000", (3, 3)), ("1", (0, 1))]
)
def test_of_runs_the_longest_and_of_equal_ones_the_last_is_taken(chosen, run):
    assert longest_run(np.array([c == "1" for c in chosen])) == slice(*run)


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
