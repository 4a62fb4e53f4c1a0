"""The pose graph takes what keyframes tell that are adjusted together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulation.keyframes import DRIFT, FRAMES, drifted, scene
from submap_samples import a_submap

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.errors import AlignmentError
from dvlt_ros.mapping.pose_graph.config import LoopClosure, PoseGraphConfig, RejectedLoop
from dvlt_ros.mapping.pose_graph.submap_graph import MAX_KEYFRAMES, SubmapGraph
from dvlt_ros.refinement import Keyframe

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


def submaps(poses, keyframes, visual_ids=(0,) * FRAMES, depth=3.0):
    """Depth is in the visual map's unit."""
    return [
        replace(a_submap(i, num_registrations=min(i, 1)), map_from_cam=pose, map_id=visual_id, keyframe=keyframe,
                depth=depth)
        for i, (pose, keyframe, visual_id) in enumerate(zip(poses, keyframes, visual_ids, strict=True))
    ]  # fmt: skip


def filled(seen):
    graph = SubmapGraph(is_metric=False)
    for submap in seen:
        graph.add(submap, IDENTITY, submap.map_id, None)
    return graph


def in_unit(keyframes, units):
    """Their depths in the unit of a visual map that drifts."""
    return [Keyframe(k.tracks, k.seen, u * k.depth, k.deviation) for k, u in zip(keyframes, units, strict=True)]


def drifting(seed=0, drift=DRIFT):
    truth, keyframes = scene(np.random.default_rng(seed))
    begin, growing = drifted(truth, drift)
    return truth, submaps(begin, in_unit(keyframes, growing)), growing


def assert_corrected(correction, truth, begin, growing, tolerance=0.02):
    assert correction.submaps.tolist() == list(range(FRAMES))
    scales = correction.new_from_old.scale.numpy()
    np.testing.assert_allclose(scales / scales[0], growing[0] / growing, rtol=tolerance)
    moved = correction.poses(0, np.arange(FRAMES), begin)[:, :3, 3]
    true = truth[:, :3, 3]
    factor = np.linalg.norm(moved[-1] - moved[0]) / np.linalg.norm(true[-1] - true[0])
    np.testing.assert_allclose((moved - moved[0]) / factor, true - true[0], atol=0.5 * tolerance)


def test_a_drift_between_submaps_is_corrected():
    truth, seen, growing = drifting()
    graph = filled(seen)
    assert graph.num_unadjusted == FRAMES
    correction = graph.adjust()
    assert (graph.num_unadjusted, graph.num_adjusted) == (0, FRAMES)
    assert_corrected(correction, truth, np.stack([submap.map_from_cam for submap in seen]), growing)


def test_what_keyframes_tell_is_not_lost_at_a_submap_without_one():
    truth, seen, growing = drifting(1)
    begin = np.stack([submap.map_from_cam for submap in seen])
    seen[5] = replace(seen[5], keyframe=None)
    correction = filled(seen).adjust()
    scales = correction.new_from_old.scale.numpy()
    told = np.arange(FRAMES) != 5
    np.testing.assert_allclose((scales / scales[0])[told], (growing[0] / growing)[told], rtol=0.02)
    assert scales[5] == pytest.approx(scales[4], rel=1e-3)
    moved = correction.poses(0, np.arange(FRAMES), begin)[told, :3, 3]
    true = truth[told, :3, 3]
    factor = np.linalg.norm(moved[-1] - moved[0]) / np.linalg.norm(true[-1] - true[0])
    np.testing.assert_allclose((moved - moved[0]) / factor, true - true[0], atol=0.01)


def test_what_is_right_is_not_moved():
    truth, keyframes = scene(np.random.default_rng(1), noise=0.0)
    graph = filled(submaps(truth, keyframes))
    assert graph.adjust() is None
    assert (graph.num_adjusted, graph.keyframe_problem) == (FRAMES, "")


def test_a_small_move_waits_for_the_next_correction():
    truth, keyframes = scene(np.random.default_rng(2))
    graph = filled(submaps(truth, keyframes))
    assert graph.adjust(least=0.1) is None
    assert graph.num_adjusted == FRAMES
    correction = graph.adjust()  # nothing new, but what has moved before
    assert graph.num_adjusted == 0
    assert correction.submaps.tolist() == list(range(FRAMES))
    assert np.abs(np.log(correction.new_from_old.scale.numpy())).max() > 0
    assert graph.adjust() is None


def test_only_the_latest_that_there_is_time_for_are_adjusted():
    _, seen, growing = drifting(3)
    graph = filled(seen)
    scales = graph.adjust(most=6).new_from_old.scale.numpy()
    assert graph.num_adjusted == 6
    np.testing.assert_allclose(scales[: FRAMES - 5], 1.0, atol=1e-3)
    np.testing.assert_allclose(scales[-6:], growing[-6] / growing[-6:], rtol=0.02)


def test_keyframes_of_another_visual_map_are_left_out():
    truth, keyframes = scene(np.random.default_rng(2))
    first, second = FRAMES // 2, FRAMES - FRAMES // 2
    graph = filled(submaps(truth, keyframes, (0,) * first + (1,) * second))
    assert graph.adjust().submaps.tolist() == list(range(first, FRAMES))
    assert graph.num_adjusted == second


def test_one_keyframe_alone_is_not_corrected():
    truth, keyframes = scene(np.random.default_rng(3))
    graph = filled(submaps(truth[:1], keyframes[:1], (0,)))
    assert graph.adjust() is None
    assert graph.num_adjusted == 0


def test_without_keyframes_nothing_is_adjusted():
    truth, _ = scene(np.random.default_rng(3))
    graph = filled(submaps(truth, [None] * FRAMES))
    assert graph.num_unadjusted == 0
    assert graph.adjust() is None


def test_tracks_that_agree_with_no_poses_move_nothing():
    rng = np.random.default_rng(4)
    truth, keyframes = scene(rng)
    graph = filled(submaps(truth, [replace(k, seen=rng.permutation(k.seen)) for k in keyframes]))
    before = [graph._graph.map_from_cam(submap) for submap in graph._graph.submaps]
    assert graph.adjust() is None
    assert graph.keyframe_problem == f"too few tracks of {FRAMES} keyframes fit common poses"
    np.testing.assert_array_equal([graph._graph.map_from_cam(submap) for submap in graph._graph.submaps], before)


def test_before_a_torn_newest_keyframe_the_others_are_corrected():
    _, seen, growing = drifting(6)
    torn = seen[-1].keyframe
    wrong = np.random.default_rng(6).uniform(-0.5, 0.5, torn.seen.shape)
    seen[-1] = replace(seen[-1], keyframe=replace(torn, seen=wrong))
    graph = filled(seen)
    scales = graph.adjust().new_from_old.scale.numpy()
    assert graph.keyframe_problem == ""
    np.testing.assert_allclose((scales / scales[0])[:-1], (growing[0] / growing)[:-1], rtol=0.02)
    assert scales[-1] == pytest.approx(scales[-2], rel=1e-3)  # it moves with the one before it


def test_a_loop_that_the_keyframes_contradict_leaves_and_is_said():
    _, seen, _ = drifting(7, drift=0.12)
    graph = filled(seen)
    ends = [graph._graph.map_from_submap(number) for number in (0, FRAMES - 1)]
    loop = LoopClosure(0, FRAMES - 1, ends[0].inverse.compose(ends[1]), 0.01)  # as it drifted
    assert not isinstance(graph.close(loop), RejectedLoop)
    graph.adjust()
    assert [rejected.loop.second for rejected in graph.dropped] == [FRAMES - 1]
    assert "contradicts it now" in graph.dropped[0].reason
    graph.adjust()
    assert graph.dropped == ()


def test_what_has_moved_without_keyframes_is_not_published_as_theirs():
    truth, _ = scene(np.random.default_rng(9))
    graph = filled(submaps(truth, [None] * FRAMES))
    moved = Sim3.of(1.1, np.eye(3), np.ones(3))
    submap = replace(graph._published[FRAMES - 1], map_from_visual=moved)
    graph._published[FRAMES - 1] = submap
    assert graph._unpublished(FRAMES - 1) > 0.05
    assert graph.adjust() is None


def test_moves_that_cancel_are_not_published():
    _, seen, _ = drifting(8)
    graph = filled(seen)
    assert graph.adjust(least=10.0) is None  # it has moved by less than ten times the depth
    submap = seen[-1].number
    graph._graph.restore(filled(seen)._graph.state())
    assert graph.adjust() is None
    assert graph._unpublished(submap) == pytest.approx(0.0, abs=1e-9)


def test_only_so_many_keyframes_are_kept():
    truth, keyframes = scene(np.random.default_rng(5), noise=0.0)
    graph = SubmapGraph(is_metric=False)
    for number in range(2 * MAX_KEYFRAMES):
        same = replace(a_submap(number, num_registrations=min(number, 1)), map_from_cam=truth[0], keyframe=keyframes[0])
        graph.add(same, IDENTITY, 0, None)
    graph.adjust()
    assert graph.num_adjusted == MAX_KEYFRAMES
    graph.forget()
    assert graph.num_unadjusted == 0


def test_submaps_that_are_no_places_leave_the_graph_before_places():
    graph = SubmapGraph(is_metric=False, config=PoseGraphConfig(max_submaps=40, max_loops=10))
    for number in range(90):
        graph.add(
            replace(a_submap(number, num_registrations=min(number, 1)), is_place=number % 3 == 0), IDENTITY, 0, None
        )
    assert len(graph) == 40
    kept = set(graph._graph.submaps)
    assert {number for number in range(90) if number % 3 == 0} <= kept
    assert len(graph._merged) == 0


def test_where_the_graph_has_no_solution_it_stays_as_it_was_and_says_so(monkeypatch):
    _, seen, _ = drifting()
    graph = filled(seen)
    before = [graph._graph.map_from_submap(submap.number).matrix.numpy() for submap in seen]

    def fail():
        graph._graph.spread_error(graph._graph.loop_edge(LoopClosure(0, 5, Sim3.of(2.0, np.eye(3), np.ones(3)), 0.1)))
        raise AlignmentError("it is singular")

    monkeypatch.setattr(graph._loops, "optimize", fail)
    assert graph.adjust() is None
    assert graph.keyframe_problem == "it is singular"
    for submap, pose in zip(seen, before, strict=True):
        np.testing.assert_array_equal(graph._graph.map_from_submap(submap.number).matrix.numpy(), pose)
    monkeypatch.undo()
    for submap in drifting(1)[1]:
        graph.add(replace(submap, number=FRAMES + submap.number), IDENTITY, 0, None)
    assert graph.adjust() is not None
    assert graph.keyframe_problem == ""
