"""The pose graph takes what keyframes tell that are adjusted together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from keyframe_samples import FRAMES, drifted, scene
from submap_samples import a_submap

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.mapping.pose_graph.submap_graph import MAX_KEYFRAMES, SubmapGraph
from dvlt_ros.mapping.submaps.tracked_view import TrackedView
from dvlt_ros.refinement import Keyframe

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")

EVERY = 3  # keyframes of a submap


def filled(poses, keyframes, visual_ids=(0,) * FRAMES):
    """A graph with submaps of `EVERY` keyframes each, whose depth is in the visual map's unit."""
    graph = SubmapGraph(is_metric=False)
    for i, (pose, keyframe, visual_id) in enumerate(zip(poses, keyframes, visual_ids, strict=True)):
        number = i // EVERY
        if i % EVERY == 0:
            submap = replace(a_submap(number, num_registrations=min(number, 1)), map_from_cam=pose, map_id=visual_id)
            graph.add(submap, IDENTITY, visual_id, None)
        graph.see(TrackedView(number, visual_id, pose, keyframe))
    return graph


def in_unit(keyframes, units):
    """Their depths in the unit of a visual map that drifts."""
    return [Keyframe(k.tracks, k.seen, u * k.depth, k.deviation) for k, u in zip(keyframes, units, strict=True)]


def test_a_drift_between_submaps_is_corrected():
    truth, keyframes = scene(np.random.default_rng(0))
    begin, growing = drifted(truth, keyframes)
    graph = filled(begin, in_unit(keyframes, growing))
    correction = graph.adjust()
    assert (graph.num_unadjusted, graph.num_keyframes) == (0, FRAMES)
    assert correction.submaps.tolist() == list(range(FRAMES // EVERY))
    scales = correction.new_from_old.scale.numpy()
    np.testing.assert_allclose(scales / scales[0], growing[0] / growing[::EVERY], rtol=0.02)
    moved = correction.poses(0, np.arange(FRAMES // EVERY), begin[::EVERY])[:, :3, 3]
    true = truth[::EVERY, :3, 3]
    factor = np.linalg.norm(moved[-1] - moved[0]) / np.linalg.norm(true[-1] - true[0])
    np.testing.assert_allclose((moved - moved[0]) / factor, true - true[0], atol=0.01)


def test_what_is_right_is_not_moved():
    truth, keyframes = scene(np.random.default_rng(1), noise=0.0)
    correction = filled(truth, keyframes).adjust()
    np.testing.assert_allclose(correction.new_from_old.scale, 1.0, atol=1e-4)
    np.testing.assert_allclose(correction.new_from_old.translation, 0.0, atol=1e-4)


def test_keyframes_of_another_visual_map_are_left_out():
    truth, keyframes = scene(np.random.default_rng(2))
    first, second = 2 * EVERY, FRAMES - 2 * EVERY
    correction = filled(truth, keyframes, (0,) * first + (1,) * second).adjust()
    assert correction.submaps.tolist() == list(range(first // EVERY, FRAMES // EVERY))


def test_one_submap_alone_is_not_corrected():
    truth, keyframes = scene(np.random.default_rng(3))
    assert filled(truth[:EVERY], keyframes[:EVERY], (0,) * EVERY).adjust() is None


def test_without_keyframes_nothing_is_adjusted():
    graph = SubmapGraph(is_metric=False)
    graph.see(None)
    assert graph.num_unadjusted == 0
    assert graph.adjust() is None


def test_tracks_that_agree_with_no_poses_move_nothing():
    rng = np.random.default_rng(4)
    truth, keyframes = scene(rng)
    graph = filled(truth, [replace(k, seen=rng.permutation(k.seen)) for k in keyframes])
    before = [graph._graph.map_from_cam(submap) for submap in graph._graph.submaps]
    assert graph.adjust() is None
    np.testing.assert_array_equal([graph._graph.map_from_cam(submap) for submap in graph._graph.submaps], before)


def test_only_so_many_keyframes_are_kept():
    graph = SubmapGraph(is_metric=False)
    truth, keyframes = scene(np.random.default_rng(5))
    for _ in range(2 * MAX_KEYFRAMES):
        graph.see(TrackedView(0, 0, truth[0], keyframes[0]))
    assert graph.num_keyframes == MAX_KEYFRAMES
    graph.forget()
    assert graph.num_keyframes == 0
