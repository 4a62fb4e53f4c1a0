"""Loop closures of a simulated robot, end to end."""

from __future__ import annotations

import itertools
from dataclasses import replace

import endurance
import numpy as np
import pytest
from configs import mapper_config
from simulated_robot import TrajectoryError, run
from simulation.network import PredictionNoise, SimulatedPredictor
from simulation.robot import make_robot
from submap_samples import EAGER, NO_NOISE, PATH_M, a_submap

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.mapping.data.corrections import Correction
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.pose_graph.submap_graph import SubmapGraph

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


@pytest.fixture(scope="module")
def robot():
    return make_robot(0, PATH_M)


def test_with_odometry_a_loop_moves_the_map_once_and_odom_never(robot):
    drive = run(robot, PredictionNoise(), has_loops=True)
    closed = int(drive.status.values["loops_closed"])
    assert closed >= 1
    assert float(drive.status.values["loop_residual"]) < 0.05
    found, true = drive.metric
    assert np.isfinite(found).all()
    ate = TrajectoryError.of(drive.corrected[:, :3, 3], true[:, :3, 3])
    assert ate.se3_m < 0.007 * robot.length_m
    metres, degrees = drive.steps.max(axis=0)
    assert metres < 0.05
    assert degrees < 0.5
    corrected = [update for update in drive.updates if update.corrections]
    assert len(corrected) == closed
    assert {update.map_id for update in drive.updates if update.is_metric} == {0}
    for placed in corrected:  # REP-105: map -> odom composed with the robot's own odom -> camera is the camera
        newest = placed.window.reconstructions[-1]
        odom_from_cam = robot.odometry.at(newest.stamp_ns).odom_from_base @ robot.base_from_cam["front"]
        np.testing.assert_allclose(placed.map_from_odom @ odom_from_cam, newest.map_from_cam, atol=1e-9)


def test_a_network_that_makes_one_place_of_any_two_does_no_great_harm(robot):
    drive = run(robot, PredictionNoise(), has_loops=True, is_fooled=True)
    assert int(drive.status.values["loops_refused"]) > int(drive.status.values["loops_closed"])
    ate = TrajectoryError.of(drive.corrected[:, :3, 3], drive.metric[1][:, :3, 3])
    assert ate.se3_m < 0.01 * robot.length_m


@pytest.fixture(scope="module")
def kidnapped(robot):
    """Windows of a drive whose middle the camera did not see, through unscaled map and builder; no odometry."""
    predictor = SimulatedPredictor(robot, NO_NOISE)
    mapper = Mapper(replace(mapper_config(map_voxel_size=0.1), loops=EAGER), predictor)
    placed, snapshots = [], []
    for frame in robot.frames():
        if 20 < frame.stamp_ns * 1e-9 < 32:
            continue
        before = mapper.snapshot()
        if (update := mapper.add(frame)) is not None:
            placed.append(update)
            snapshots += [before for _ in update.corrections]
    return placed, snapshots, mapper


def test_a_kidnapped_robot_begins_a_map_and_a_loop_joins_it_to_the_old_one(robot, kidnapped):
    placed, snapshots, mapper = kidnapped
    assert [map_id for map_id, _ in itertools.groupby(p.window.map_id for p in placed)] == [0, 1, 0]
    assert int(mapper.status.values["loops_closed"]) >= 1
    assert (snapshots[0].map_id, mapper.snapshot().map_id) == (1, 0)
    path = mapper.snapshot()
    assert path.stamps_ns[0] * 1e-9 < 20
    assert (np.diff(path.stamps_ns) > 0).all()
    assert mapper.snapshots()[:-1] == []
    true = np.stack([robot.truth["front", stamp] for stamp in path.stamps_ns.tolist()])
    assert TrajectoryError.of(path.map_from_cam[:, :3, 3], true[:, :3, 3]).sim3_m < 0.5


def test_one_look_alike_alone_joins_no_maps(kidnapped):
    """The first loop between two maps has nothing to be compared with: a second one must say the same."""
    _, _, mapper = kidnapped
    graph = SubmapGraph(is_metric=False)
    for number in range(4):
        submap = a_submap(number, num_registrations=number % 2)
        graph.add(submap, IDENTITY, map_id=number // 2, camera=None)
    found = graph.close(LoopClosure(0, 2, IDENTITY, 0.01))
    assert isinstance(found, RejectedLoop)
    assert "waits for a second one" in found.reason
    correction = graph.close(LoopClosure(1, 3, IDENTITY, 0.01))
    assert isinstance(correction, Correction)
    assert (correction.map_id, correction.map_ids.tolist()) == (0, [0, 0, 1, 1])
    assert int(mapper.status.values["loops_refused"]) >= 1  # so it was on the drive


def test_round_and_round_memory_is_bounded():
    """The benchmark in small: laps in one room."""
    rows = []
    endurance.drive(240, has_loops=True, report=rows.append)
    assert rows[-1].loops >= 2
    assert rows[-1].submaps <= rows[-1].places <= 240
    assert rows[-1].points <= endurance.CONFIG.map.max_points
