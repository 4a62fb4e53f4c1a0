"""The pose graph, judged at the level of poses, and how it is kept small."""

import math
import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from corridors import Robot, errors, exact, fill, judge, sim3

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.pose_graph.config import LoopClosure, PoseGraphConfig
from dvlt_ros.mapping.pose_graph.factors import from_sim3, library, move
from dvlt_ros.mapping.pose_graph.graph import PoseGraph
from dvlt_ros.mapping.pose_graph.hypotheses import LoopHypotheses
from dvlt_ros.mapping.pose_graph.merging import shrink
from dvlt_ros.mapping.pose_graph.noise import loop_covariance, registration_covariance
from dvlt_ros.refinement import MotionDeviation

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


@pytest.fixture(scope="module")
def closed():
    """A robot's graph with odometry and all true loops."""
    robot = Robot(0)
    return robot, *fill(robot, closures=robot.true_loops())


@pytest.mark.parametrize("odometry", [True, False])
def test_without_noise_everything_is_where_it_was(odometry):
    robot = exact(0, windows=60)
    closures = {50: LoopClosure(2, 50, robot.between(2, 50), 0.0)}
    graph, _, solutions = fill(robot, odometry=odometry, closures=closures)
    assert len(solutions[0].accepted) == 1
    assert errors(graph, robot).max() < 1e-6


def test_odometry_makes_the_map_metric_from_any_unit():
    robot = exact(1, windows=40)
    graph = PoseGraph()
    loops = LoopHypotheses(graph)
    start = robot.world_from_window(0)
    start = Sim3(0.3 * start.scale, start.rotation, 0.3 * start.translation)
    graph.begin_component(0, start, robot.window_from_cam[0], robot.depth(0))
    for window in range(1, robot.windows):
        graph.add_submap(window, robot.registration(window), robot.window_from_cam[window], robot.depth(window))
        graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
    loops.optimize()
    for window in range(robot.windows):
        assert float(graph.map_from_submap(window).scale) == pytest.approx(robot.unit_m[window], rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_300_m_with_odometry_alone(seed):
    robot = Robot(seed, lap=120)
    graph, loops, _ = fill(robot)
    loops.optimize()
    quality = judge(graph, robot)
    assert quality.ate < 0.5  # required are 2
    assert abs(quality.unit) < 0.005
    assert abs(quality.scale) < 0.01


def test_300_m_with_loops(closed):
    robot, graph, loops, solutions = closed
    quality = judge(graph, robot)
    assert quality.ate < 0.05  # required are 0.7
    assert abs(quality.unit) < 0.005
    assert len(loops.accepted) == sum(len(solution.accepted) for solution in solutions) == 16
    assert not any(solution.refused for solution in solutions)


def test_loops_help_without_odometry():
    robot = Robot(2)
    graph, *_ = fill(robot, odometry=False, closures=robot.true_loops())
    assert judge(graph, robot).ate < 0.2
    robot = Robot(2)
    assert judge(fill(robot, odometry=False)[0], robot).ate > 0.4


def test_the_same_twice_is_the_same(closed):
    robot = Robot(closed[0].seed)
    again, *_ = fill(robot, closures=robot.true_loops())
    for window in (17, 239):
        np.testing.assert_array_equal(again.map_from_cam(window), closed[1].map_from_cam(window))


def test_merging_keeps_the_graph_small_and_the_map_right():
    config = PoseGraphConfig(max_submaps=60, max_loops=15)
    robot = Robot(4)
    closures = {second: loop for second, loop in robot.true_loops().items() if loop.first % 24 == 0}
    graph = PoseGraph(config)
    loops = LoopHypotheses(graph)
    gone = {}
    for window in range(robot.windows):
        if window == 0:
            graph.begin_component(0, robot.world_from_window(0), robot.window_from_cam[0], robot.depth(0))
        else:
            graph.add_submap(window, robot.registration(window), robot.window_from_cam[window], robot.depth(window))
            graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
        if window in closures:
            loop = closures[window]
            first, first_from_its = loop.first, sim3(1.0, np.eye(3), np.zeros(3))
            while first in gone:  # it is known by one that stayed, or by one that stayed then
                first, beside_from_its = gone[first]
                first_from_its = beside_from_its.compose(first_from_its)
            measured = first_from_its.compose(loop.first_from_second)
            loops.add(LoopClosure(first, loop.second, measured, loop.residual))
            assert loops.optimize().accepted
        gone |= shrink(graph, loops.submaps)
        assert len(graph) <= 60
    assert len(gone) == robot.windows - 60
    kept = [window for window in range(robot.windows) if window in graph]
    assert kept[0] == 0
    assert max(np.diff(kept)) <= 16  # what stays is spread over the drive
    loops.optimize()
    assert judge(graph, robot).ate < 0.1
    assert len(loops.accepted) == len(closures)


def test_a_merged_submap_is_known_by_the_one_beside_it():
    robot = exact(4, windows=60)
    graph = PoseGraph(PoseGraphConfig(max_submaps=20, max_loops=5))
    loops = LoopHypotheses(graph)
    for window in range(robot.windows):
        if window == 0:
            graph.begin_component(0, robot.world_from_window(0), robot.window_from_cam[0], robot.depth(0))
        else:
            graph.add_submap(window, robot.registration(window), robot.window_from_cam[window], robot.depth(window))
        for gone, found in shrink(graph, loops.submaps).items():
            beside, beside_from_gone = found
            torch.testing.assert_close(
                beside_from_gone.matrix, robot.between(beside, gone).matrix, atol=1e-6, rtol=1e-6
            )
    assert len(graph) == 20


def test_a_submap_that_alone_joins_registrations_to_odometry_is_never_merged():
    robot = exact(7, windows=131)
    graph, hinge = PoseGraph(PoseGraphConfig(max_submaps=10, max_loops=2)), 31
    loops = LoopHypotheses(graph)
    windows = [0, 10, 20, 30, hinge, 32, *range(40, 131, 10)]  # the hinge has the nearest neighbours
    graph.begin_component(0, robot.world_from_window(0), robot.window_from_cam[0], robot.depth(0))
    for before, window in pairwise(windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window == hinge:
            graph.begin_component(window, robot.world_from_window(window), inside, depth)
        else:
            graph.add_submap(window, robot.between(before, window), inside, depth)
        if window <= hinge:
            graph.add_odometry(before, window, robot.odometry(before, window))
        shrink(graph, loops.submaps)
    assert len(graph) == 10
    assert hinge in graph
    loops.add(LoopClosure(0, 130, robot.between(0, 130), 0.0))
    assert loops.optimize().accepted  # everything still hangs together


def test_what_cannot_be_is_refused():
    robot = Robot(8, windows=3)
    graph = PoseGraph()
    loops = LoopHypotheses(graph)
    with pytest.raises(InputError, match="no submap before it"):
        graph.add_submap(0, robot.between(0, 1), np.eye(4), 1.0)
    graph, loops, _ = fill(robot)
    with pytest.raises(InputError, match="submaps come in order, got 2 after 2"):
        graph.begin_component(2, robot.world_from_window(2), np.eye(4), 1.0)
    with pytest.raises(InputError, match="submap 7 is not in the graph"):
        loops.add(LoopClosure(0, 7, robot.between(0, 1), 0.0))
    with pytest.raises(InputError, match="from an older to a newer submap, got 2 and 0"):
        loops.add(LoopClosure(2, 0, robot.between(2, 0), 0.0))
    with pytest.raises(InputError, match="got 1 and 2 once more"):
        graph.add_odometry(1, 2, robot.odometry(1, 2))
    with pytest.raises(InputError, match="a depth above 0, got depth nan"):
        graph.add_submap(3, robot.between(1, 2), np.eye(4), math.nan)
    with pytest.raises(ConfigError, match="a quarter of max_submaps"):
        PoseGraphConfig(max_submaps=100, max_loops=26)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "gtsam", None)
    with pytest.raises(ConfigError, match=r"pip install 'gtsam>=4\.3,<5'"):
        PoseGraph()


def test_a_loop_is_no_more_certain_than_the_tracks_of_its_joint_window():
    config = PoseGraphConfig()
    usual = loop_covariance(config, 2.0, 0.01)
    exact = loop_covariance(config, 2.0, 0.01, MotionDeviation(1e-4, 1e-4))
    vague = loop_covariance(config, 2.0, 0.01, MotionDeviation(turn=0.1, shift=0.2))
    assert np.array_equal(exact, usual)
    assert np.sqrt(np.diag(vague)[:6]) == pytest.approx([0.1] * 3 + [0.4] * 3)


def test_a_registration_is_no_more_certain_than_the_windows_that_it_joins():
    config = PoseGraphConfig()
    exact, vague = MotionDeviation(1e-4, 1e-4), MotionDeviation(turn=0.1, shift=0.2)
    fixed = np.radians(config.registration_rotation_deg), config.registration_translation
    one, three = (registration_covariance(config, 2.0, length) for length in (1, 3))
    assert np.sqrt(np.diag(one)) == pytest.approx([fixed[0]] * 3 + [2 * fixed[1]] * 3 + [config.registration_scale])
    np.testing.assert_allclose(three, 3 * one, rtol=1e-12)
    np.testing.assert_allclose(registration_covariance(config, 2.0, 3, (exact, exact)), three, rtol=1e-12)
    told = np.diag(registration_covariance(config, 2.0, 3, (exact, vague)))
    turn, shift = 2 * fixed[0] ** 2 + 0.1**2, 2 * (2 * fixed[1]) ** 2 + 0.4**2
    assert told == pytest.approx([turn] * 3 + [shift] * 3 + [3 * config.registration_scale**2])


@pytest.mark.parametrize(("motions", "least", "most"), [((), 0.2, 0.5), ((MotionDeviation(1e-4, 0.1),), 0.9, 1.0)])
def test_a_vague_window_takes_the_error_that_a_loop_finds(motions, least, most):
    """Three steps along a line, and a loop that has the whole way 2 cm longer: how much of it the second step takes."""
    graph = PoseGraph()
    step = Sim3.of(1.0, np.eye(3), np.array([1.0, 0.0, 0.0]))
    graph.begin_component(0, Sim3.of(1.0, np.eye(3), np.zeros(3)), np.eye(4), 1.0)
    for submap in (1, 2, 3):
        graph.add_submap(submap, step, np.eye(4), 1.0, motions=motions if submap == 2 else ())
    loop = LoopClosure(0, 3, Sim3.of(1.0, np.eye(3), np.array([3.02, 0.0, 0.0])), 0.0)
    graph.solve([graph.loop_edge(loop)])
    grown = np.diff([graph.map_from_cam(submap)[0, 3] for submap in range(4)]) - 1.0
    assert least < grown[1] / grown.sum() < most


@pytest.mark.parametrize(
    ("scale", "turn", "shift", "expected"),
    [(1.0, 0.0, 0.0, 0.0), (1.02, 0.0, 0.0, np.log(1.02)), (1.0, 0.03, 0.0, 0.03), (1.0, 0.0, 0.2, 0.05)],
)
def test_a_node_moves_by_its_shift_in_depths_by_its_turn_or_by_its_unit(scale, turn, shift, expected):
    rotation = cv2.Rodrigues(np.array([0.0, turn, 0.0]))[0]
    new = from_sim3(Sim3.of(scale, rotation, np.array([0.0, shift, 0.0])))
    assert move(from_sim3(IDENTITY), new, depth=4.0) == pytest.approx(expected)
