"""A loaded map in the pose graph, the place index and the map builder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from room import FRAME_NS, pose
from saved_maps import a_saved_map

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.loops.config import PlaceIndexConfig
from dvlt_ros.mapping.loops.place_index import LONG_AGO_NS, Place, PlaceIndex
from dvlt_ros.mapping.maps.builder import MapBuilder
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.maps.map_part import MapSnapshot
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.pose_graph.graph import PoseGraphConfig
from dvlt_ros.mapping.pose_graph.submap_graph import SubmapGraph
from dvlt_ros.mapping.submaps.submap import Submap


def moved_by(x, scale=1.0):
    return Sim3.of(scale, np.eye(3), np.array([x, 0.0, 0.0]))


def test_one_loop_joins_nothing_to_a_saved_map_and_two_never_move_it():
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    graph = SubmapGraph(is_metric=False)
    assert graph.load([5, 6, 7]) == graph.saved_id == -1
    for number in (8, 9):
        submap = Submap(number, 0, number * FRAME_NS, "cam", pose((number, 0, 0)), 3.0, number - 8)
        graph.add(submap, IDENTITY, 0, None)
    assert isinstance(graph.close(LoopClosure(6, 8, moved_by(10.0), 0.01)), RejectedLoop)
    correction = graph.close(LoopClosure(7, 9, moved_by(10.0), 0.01))
    assert isinstance(correction, Correction)
    assert (correction.map_id, correction.map_ids.tolist()) == (-1, [-1, 0, 0])
    np.testing.assert_allclose(correction.new_from_old.translation[:, 0], [0, 10, 10], atol=1e-3)
    torch.testing.assert_close(correction.new_from_old.matrix[0], torch.eye(4).double(), rtol=0, atol=1e-12)
    graph.forget()
    assert graph.saved_id is None
    assert graph.load([10]) == -2  # another one


def test_a_saved_map_stays_known_however_far_the_robot_drives():
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    graph.load([0, 1, 2])
    for number in range(3, 60):
        forgotten = (0, 1) if number == 30 else ()
        submap = Submap(number, 0, number, "cam", pose((number, 0, 0)), 3.0, min(number - 3, 1), forgotten)
        graph.add(submap, moved_by(0.0, scale=2.0), 0, None)
    assert len(graph) == 12
    assert graph.expected_scale(2, 59) == pytest.approx(2.0)
    assert graph.expected_scale(1, 59) is None


def test_places_of_a_saved_map_need_no_places_in_between():
    index, rng = PlaceIndex(PlaceIndexConfig(min_age_s=20.0, min_apart=10)), np.random.default_rng(0)
    descriptors = rng.normal(size=(25, 8, 16)).astype(np.float32)
    for number, descriptor in enumerate(descriptors):
        index.add(Place(number, LONG_AGO_NS, -1 - number), descriptor)
    found = index.look_up(descriptors[24], stamp_ns=0)
    assert found[0].place.submap == 24


def test_submaps_move_with_their_map_and_are_forgotten():
    builder = MapBuilder(MapConfig(voxel_size=0.05))
    builder.load(MapSnapshot(-1, *saved_parts(), 0.01, {0: IDENTITY, 1: IDENTITY}), submap_id=0)
    places = {number: Submap(number, 0, number, "cam", np.eye(4), 3.0, 0, (1,) * (number == 3)) for number in (2, 3)}
    builder.add_submap(places[2], 4, None)
    assert builder.snapshot().map_from_visual.keys() == {0, 1}
    builder.place_waiting(moved_by(3.0, scale=2.0), 4)
    builder.add_submap(places[3], 4, moved_by(1.0))
    changes = stacked([IDENTITY, moved_by(10.0), moved_by(20.0)])
    builder.correct(Correction(-1, np.array([0, 2, 3]), np.array([-1, 4, 4]), changes))
    joined = builder.snapshot()
    assert {n: s.translation[0].item() for n, s in joined.map_from_visual.items()} == {0: 0.0, 2: 13.0, 3: 21.0}
    assert joined.map_from_visual[2].scale == 2.0


def saved_parts(num_points=500):
    saved = a_saved_map(num_points=num_points)
    return saved.cloud, saved.stamps_ns, saved.map_from_cam


def test_a_loaded_cloud_is_bounded_and_leaves_after_those_of_maps_that_have_ended():
    builder = MapBuilder(MapConfig(voxel_size=0.05, max_points=1000))
    builder.load(MapSnapshot(-1, *saved_parts(5000), 0.01, {}), submap_id=0)
    assert len(builder.snapshot().cloud.points) <= 1000
    for map_id in range(3):
        builder.load(MapSnapshot(map_id, *saved_parts(), 0.01, {}), submap_id=0)
    assert [kept.map_id for kept in builder.snapshots()[:-1]] == [-1]
