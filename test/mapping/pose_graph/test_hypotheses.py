"""Which loop closures are accepted, and what they do to the submaps."""

import numpy as np
import pytest
from corridors import Robot, errors, exact, fill, planar, rotation, sim3

from dvlt_ros.alignment import Sim3
from dvlt_ros.errors import AlignmentError
from dvlt_ros.mapping.pose_graph import graph as graph_module
from dvlt_ros.mapping.pose_graph.config import LoopClosure, PoseGraphConfig
from dvlt_ros.mapping.pose_graph.graph import PoseGraph
from dvlt_ros.mapping.pose_graph.hypotheses import LoopHypotheses

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


def test_a_loop_that_contradicts_the_rest_is_refused_and_changes_nothing():
    robot = Robot(3, windows=120)
    graph, loops, _ = fill(robot, closures={60: robot.loop(12, 60)})
    loops.optimize()
    before = graph.map_from_cam(119)
    loops.add(robot.loop(20, 100, moved_m=5.0))  # another corridor that looks the same
    solution = loops.optimize()
    assert not solution.accepted
    assert "contradicts it: the squared error would rise by" in solution.refused[0].reason
    assert (solution.refused[0].loop.first, solution.refused[0].loop.second) == (20, 100)
    np.testing.assert_allclose(graph.map_from_cam(119), before, atol=2e-3)
    assert len(loops.accepted) == 1


def test_a_false_loop_leaves_when_true_ones_contradict_it():
    robot = Robot(0, windows=120)
    wrong = robot.between(8, 56)
    moved = Sim3(wrong.scale, wrong.rotation, wrong.translation + 1.5 / robot.unit_m[8])
    true = robot.true_loops()
    _, loops, solutions = fill(robot, odometry=False, closures={56: LoopClosure(8, 56, moved, 0.02)})
    assert solutions[0].accepted  # nothing was known that speaks against it
    loops.add(true[48])
    assert "the rest contradicts it" in loops.optimize().refused[0].reason  # one against one: the older is believed
    loops.add(true[60])
    solution = loops.optimize()
    assert {(loop.first, loop.second) for loop in solution.accepted} == {(0, 48), (12, 60)}
    assert [(entry.loop.first, entry.loop.second) for entry in solution.refused] == [(8, 56)]
    assert len(loops.accepted) == 2


def test_too_many_loops_leave_the_ones_that_say_something_else():
    robot = Robot(5, windows=110)
    _, loops, _ = fill(robot, config=PoseGraphConfig(max_submaps=110, max_loops=2))
    for first, second in ((0, 48), (3, 51), (40, 88)):
        loops.add(robot.loop(first, second))
    loops.optimize()
    assert [(loop.first, loop.second) for loop in loops.accepted] == [(3, 51), (40, 88)]


@pytest.mark.parametrize("by", ["loop", "odometry"])
def test_a_part_of_its_own_is_joined(by):
    """A robot that was carried, or blind for a while: the second part begins anywhere, in any unit."""
    robot = exact(6, windows=60)
    graph = PoseGraph()
    loops = LoopHypotheses(graph)
    elsewhere = sim3(1.0 if by == "odometry" else 3.0, rotation([0.1, 0.2, 2.0]), [50.0, 0.0, 0.0])
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 30):
            placed = robot.world_from_window(window)
            graph.begin_component(window, elsewhere.compose(placed) if window else placed, inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
            graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
    assert errors(graph, robot)[1] > 10
    if by == "loop":
        loops.add(LoopClosure(5, 53, robot.between(5, 53), 0.0))
        assert "waits for a second one" in loops.optimize().refused[0].reason
        assert errors(graph, robot)[1] > 10
        loops.add(LoopClosure(9, 57, robot.between(9, 57), 0.0))
    else:
        graph.add_odometry(29, 30, robot.odometry(29, 30))
    loops.optimize()
    assert errors(graph, robot).max() < 1e-3


def test_a_robot_that_was_carried_unfelt_by_its_wheels_is_found_by_two_loops():
    """The second part begins at its pose by odometry, where the robot was lifted; it stands elsewhere."""
    robot = exact(6, windows=60)
    felt = np.linalg.inv(planar(4.0, -7.0, 2.0))
    graph = PoseGraph()
    loops = LoopHypotheses(graph)
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 30):
            graph.begin_component(window, robot.world_from_window(window), inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
        if window:
            moved = robot.odometry(window - 1, window)
            graph.add_odometry(window - 1, window, moved @ felt if window == 30 else moved)
    assert errors(graph, robot)[1] > 4
    loops.add(LoopClosure(5, 53, robot.between(5, 53), 0.0))
    assert "contradicts it" in loops.optimize().refused[0].reason
    loops.add(LoopClosure(9, 57, robot.between(9, 57), 0.0))
    assert len(loops.optimize().accepted) == 2
    assert errors(graph, robot).max() < 1e-2


def test_two_loops_that_contradict_each_other_join_nothing():
    robot = exact(6, windows=60)
    graph = PoseGraph()
    loops = LoopHypotheses(graph)
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 30):
            graph.begin_component(window, robot.world_from_window(window), inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
    before = graph.map_from_cam(59)
    loops.add(LoopClosure(5, 53, robot.between(5, 53), 0.0))
    loops.add(LoopClosure(20, 57, robot.between(5, 57), 0.0))  # another corridor that looks the same
    solution = loops.optimize()
    assert not solution.accepted
    assert len(solution.refused) == 2
    np.testing.assert_allclose(graph.map_from_cam(59), before, atol=1e-6)


def test_what_is_moved_by_no_loop():
    robot = exact(6, windows=60)
    graph, lost = PoseGraph(), sim3(1.0, rotation((0, 0, 0.5)), (3.0, -2.0, 0.0))
    loops = LoopHypotheses(graph)
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 20, 40):
            placed = robot.world_from_window(window)
            start = lost.compose(placed) if window else placed
            graph.begin_component(window, start, inside, depth, is_fixed=window == 0)
        elif window > 20:
            graph.add_submap(window, robot.registration(window), inside, depth)
    before = graph.map_from_cam(0)
    for first, second in ((0, 45), (0, 55), (25, 48), (30, 58)):  # the last two join submaps that are older
        loops.add(LoopClosure(first, second, robot.between(first, second), 0.0))
        loops.optimize()
    assert len(loops.accepted) == 4
    np.testing.assert_array_equal(graph.map_from_cam(0), before)
    for window in (25, 39, 45, 59):
        np.testing.assert_allclose(graph.map_from_cam(window), robot.world_from_cam[window], atol=1e-2)


def test_what_cannot_be_solved_leaves_everything_where_it_was(monkeypatch):
    robot = exact(7, windows=40)
    graph, loops, _ = fill(robot)
    before = [graph.map_from_cam(window) for window in range(40)]

    def fail(*_):
        raise AlignmentError("the pose graph has no solution")

    with monkeypatch.context() as patched:
        patched.setattr(graph_module, "minimize", fail)
        loops.add(LoopClosure(2, 39, robot.between(2, 39), 0.0))
        with pytest.raises(AlignmentError, match="no solution"):
            loops.optimize()
    for window in range(40):
        np.testing.assert_array_equal(graph.map_from_cam(window), before[window])
    assert loops.accepted == ()
    loops.add(LoopClosure(2, 39, robot.between(2, 39), 0.0))
    assert loops.optimize().accepted
