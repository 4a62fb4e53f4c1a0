"""Common to metric and unscaled maps: a loop moves the map once, and one update has its correction."""

from __future__ import annotations

import numpy as np
import pytest
from drive import ODOM_FROM_WORLD, undisturbed

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.maps.unscaled_map import UnscaledMap
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import CameraInOdom

LOOP = LoopClosure(0, 1, IDENTITY, residual=0.01)
SHIFT = Sim3.of(1.0, np.eye(3), np.array([5.0, 0.0, 0.0]))


class ShiftingGraph:
    """Believes every loop, and moves everything by 5 m into the map 7 for it."""

    def __init__(self):
        self.map_from_visual, self.num_forgotten = IDENTITY, 0

    def forget(self):
        self.num_forgotten += 1

    def place_waiting(self, map_from_visual, *_):
        self.map_from_visual = map_from_visual

    def close(self, loop):
        return Correction(7, np.array([0]), np.array([0]), stacked([SHIFT]))

    def latest(self, correction, visual_id):
        return SHIFT.compose(self.map_from_visual), 7


@pytest.fixture(scope="module")
def drive():
    return undisturbed()


@pytest.fixture(params=["metric", "unscaled"])
def make_map(request, drive):
    predictor, _ = drive

    def make(graph=None):
        if request.param == "unscaled":
            return UnscaledMap(graph)
        odometry = {stamp_ns: CameraInOdom(ODOM_FROM_WORLD @ pose, 0) for stamp_ns, pose in predictor.poses.items()}
        return MetricMap(lambda stamp_ns, _: odometry[stamp_ns], ScaleConfig(), graph=graph)

    return make


def newest_position(placed):
    return placed.window.reconstructions[-1].map_from_cam[:3, 3]


def test_without_a_graph_loops_and_saved_maps_are_refused(make_map):
    placed = make_map()
    refused = placed.close(LOOP)
    assert isinstance(refused, RejectedLoop)
    assert refused.reason == "no loops are closed"
    assert placed.expected_scale(0, 1) is None
    with pytest.raises(InputError, match="no loops are closed"):
        placed.load([0])


def test_before_the_camera_has_a_place_no_loop_is_believed(make_map):
    placed = make_map(ShiftingGraph())
    assert not placed.is_placed
    assert "pose in the map is not known" in placed.close(LOOP).reason


def test_a_loop_moves_the_map_once(make_map, drive):
    _, windows = drive
    moved, still = make_map(ShiftingGraph()), make_map()
    for window in windows[:-2]:
        for placed in (moved, still):
            placed.place(window)
    assert moved.is_placed
    correction = moved.close(LOOP)
    assert correction.map_id == 7
    ours, others = ([placed.place(window) for window in windows[-2:]] for placed in (moved, still))
    for update, other in zip(ours, others, strict=True):
        assert update.map_id == 7
        np.testing.assert_allclose(newest_position(update) - newest_position(other), (5, 0, 0), atol=1e-2)


def test_after_a_restart_the_graph_knows_nothing_from_before(make_map, drive):
    _, windows = drive
    graph = ShiftingGraph()
    placed = make_map(graph)
    for window in windows[:-1]:
        placed.place(window)
    placed.close(LOOP)
    placed.restart()
    placed.place(windows[-1])
    assert graph.num_forgotten == 1
