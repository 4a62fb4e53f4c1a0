"""The submaps of all maps in one pose graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from submap_samples import a_submap, moved_by

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.mapping.data.corrections import Correction
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.pose_graph.graph import PoseGraphConfig
from dvlt_ros.mapping.pose_graph.submap_graph import SubmapGraph
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.refinement import MotionDeviation

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


def test_submaps_that_the_graph_has_merged_can_still_be_returned_to():
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    for number in range(40):
        graph.add(a_submap(number, num_registrations=min(number, 1), forgotten=(number - 35,)), IDENTITY, 0, None)
    assert len(graph) == 12
    assert graph.expected_scale(20, 39) == pytest.approx(1.0)
    assert graph.expected_scale(2, 39) is None  # it has been forgotten
    correction = graph.close(LoopClosure(20, 39, moved_by(0.1), 0.02))
    assert isinstance(correction, Correction)
    assert correction.map_id == 0
    assert len(correction.submaps) == 12
    assert "are no longer in the graph" in graph.close(LoopClosure(2, 39, IDENTITY, 0.02)).reason


def test_a_submap_of_a_vague_window_is_joined_with_less_weight():
    graph = SubmapGraph(is_metric=True)
    vague = MotionDeviation(turn=0.1, shift=0.2)
    for number, motions in enumerate([(), (), (vague,)]):
        graph.add(replace(a_submap(number, num_registrations=min(number, 1)), motions=motions), IDENTITY, 0, None)
    usual, less = (np.sqrt(np.diag(edge.covariance)) for edge in graph._graph.edges)
    config = PoseGraphConfig()
    fixed = np.array([np.radians(config.registration_rotation_deg), config.registration_translation]).repeat(3)
    np.testing.assert_allclose(less[:6] / usual[:6], np.array([0.1, 0.2]).repeat(3) / fixed)


def test_a_place_is_forgotten_while_its_successors_still_wait_for_theirs():
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    for number in range(30):
        graph.add(a_submap(number, num_registrations=min(number, 1)), IDENTITY, 0, None)
    merged = next(number for number in range(30) if number in graph._merged)
    assert graph.expected_scale(merged, 29) == pytest.approx(1.0)
    graph.hold(a_submap(30, forgotten=(merged,)), None)
    assert graph.expected_scale(merged, 29) is None


def test_what_the_graph_remembers_is_bounded_in_whatever_order_places_are_forgotten():
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    rng, known = np.random.default_rng(0), []
    for number in range(300):
        forgotten = (known.pop(rng.integers(len(known) // 2)),) if len(known) == 20 else ()
        known.append(number)
        graph.add(a_submap(number, num_registrations=min(number, 1), forgotten=forgotten), IDENTITY, 0, None)
        assert set(graph._merged) <= set(known)
        assert len(graph._unrecognizable) <= 12


def test_a_loop_moves_no_map_in_which_the_camera_has_no_place():
    """With the scale lost, where the camera is could not move with the map."""
    graph = SubmapGraph(is_metric=True)
    for number in range(3):
        graph.add(a_submap(number, num_registrations=min(number, 1)), IDENTITY, 0, None)
    metric = MetricMap(None, ScaleConfig(), graph=graph)
    found = metric.close(LoopClosure(0, 2, moved_by(2.0), 0.01))
    assert isinstance(found, RejectedLoop)
    assert "the camera's pose in the map is not known" in found.reason


def test_scales_of_different_maps_are_comparable_only_in_metres():
    for is_metric in (True, False):
        graph = SubmapGraph(is_metric)
        graph.add(a_submap(0, num_registrations=0), moved_by(0.0, scale=2.0), 0, None)
        graph.add(a_submap(1, num_registrations=0), moved_by(0.0, scale=3.0), 1, None)
        assert graph.expected_scale(0, 1) == (pytest.approx(1.5) if is_metric else None)
