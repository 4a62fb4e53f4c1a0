"""The pose graph, judged at the level of poses: 300 m through the corridors of a rectangle, 240 windows."""

import math
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch

from dvlt_ros.alignment import Sim3, fit_sim3
from dvlt_ros.errors import AlignmentError, ConfigError, InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix, rotation_angle
from dvlt_ros.mapping.pose_graph import submap_poses
from dvlt_ros.mapping.pose_graph.config import LoopClosure, PoseGraphConfig
from dvlt_ros.mapping.pose_graph.factors import library
from dvlt_ros.mapping.pose_graph.graph import PoseGraph

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")

STEP_M = 1.25
DEPTH_M = 3.0
BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
TICKS = 25  # of the wheels per window


def rotation(vector):
    """(3, 3) of a rotation vector (3,), radians."""
    half = torch.as_tensor(vector, dtype=torch.float64) / 2
    angle = half.norm()
    return matrix_from_quaternion(torch.cat([half * torch.sinc(angle / math.pi), angle.cos()[None]]))


def planar(x, y, yaw):
    (c, s) = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def drive(windows, lap):
    """Lengths and turns of the ticks between windows: straight on, a right angle at each corner of a 2:1 rectangle."""
    window = np.arange(windows * TICKS) // TICKS % lap
    corner = np.isin(window, np.array([lap / 3, lap / 2, lap * 5 / 6, lap]) - 1)
    return np.full(len(window), STEP_M / TICKS), np.where(corner, math.pi / 2 / TICKS, 0.0)


def dead_reckoning(length, turn, sideways=0.0):
    """world_from_base (windows, 4, 4) at the start of every window."""
    yaw = np.cumsum(turn) - turn
    x = np.cumsum(length * np.cos(yaw) - sideways * np.sin(yaw))
    y = np.cumsum(length * np.sin(yaw) + sideways * np.cos(yaw))
    return np.stack([planar(*at) for at in zip(x[::TICKS], y[::TICKS], yaw[::TICKS], strict=True)])


def sim3(scale, turned, moved):
    return Sim3.of(scale, turned, moved)


@dataclass
class Robot:
    """True and measured, all of reference cameras; gauges are drawn per window."""

    seed: int
    windows: int = 240
    lap: int = 48  # windows: 60 m, 20 m by 10 m; a multiple of 6
    bend_deg: float = 0.3  # of every window, about an axis that changes slowly
    scale: float = 0.01  # of every window

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        length, turn = drive(self.windows, self.lap)
        heading = np.sqrt(0.02**2 * np.abs(turn) + 0.002**2 * length) * self.rng.normal(size=len(turn))
        forward, sideways = np.sqrt(length) * np.array([[0.005], [0.02]]) * self.rng.normal(size=(2, len(turn)))
        self.world_from_cam = dead_reckoning(length, turn) @ BASE_FROM_CAM
        self.odom_from_cam = dead_reckoning(length + forward, turn + heading, sideways) @ BASE_FROM_CAM
        self.unit_m = np.exp(0.5 * self.rng.normal(size=self.windows))  # metres in a window's unit
        self.window_from_cam = [self._pose(self.rng.normal(size=4), self.rng.normal(size=3)) for _ in self.unit_m]
        self._axes = np.cumsum(self.rng.normal(size=(self.windows, 3)), axis=0)

    def _pose(self, quaternion, moved):
        return pose_matrix(matrix_from_quaternion(torch.as_tensor(quaternion)), torch.as_tensor(moved)).numpy()

    def world_from_window(self, window):
        world_from_cam = self.world_from_cam[window]
        placed = sim3(self.unit_m[window], world_from_cam[:3, :3], world_from_cam[:3, 3])
        inside = np.linalg.inv(self.window_from_cam[window])
        return placed.compose(sim3(1.0, inside[:3, :3], inside[:3, 3]))

    def between(self, first, second):
        """first_from_second, true."""
        return self.world_from_window(first).inverse.compose(self.world_from_window(second))

    def disturbed(self, first, second, vector, moved, scale):
        """The same with an error (in the second camera's axes; metres) about the second window's camera."""
        truth, pose = self.between(first, second), self.window_from_cam[second]
        cam = sim3(1.0, pose[:3, :3], pose[:3, 3])
        error = sim3(math.exp(scale), rotation(vector), np.asarray(moved) / self.unit_m[second])
        return truth.compose(cam).compose(error).compose(cam.inverse)

    def registration(self, window):
        """The window before from this one, as it is measured."""
        axis = self._axes[window] / np.linalg.norm(self._axes[window])
        moved = 0.01 * DEPTH_M * self.rng.normal(size=3)
        return self.disturbed(
            window - 1, window, math.radians(self.bend_deg) * axis, moved, self.scale * self.rng.normal()
        )

    def odometry(self, before, after):
        return np.linalg.inv(self.odom_from_cam[before]) @ self.odom_from_cam[after]

    def loop(self, first, second, turned_deg=0.3, moved_m=0.03, scale=0.01):
        vector = math.radians(turned_deg) / 3**0.5 * self.rng.normal(size=3)
        measured = self.disturbed(first, second, vector, moved_m * self.rng.normal(size=3), scale * self.rng.normal())
        return LoopClosure(first, second, measured, 0.02)

    def true_loops(self):
        """A loop to the lap before at every twelfth window."""
        return {second: self.loop(second - self.lap, second) for second in range(self.lap, self.windows, 12)}

    def depth(self, window):
        return DEPTH_M / self.unit_m[window]


def fill(robot, *, odometry=True, loops=None, config=None, graph=None):
    """Everything in the order of the drive."""
    graph = PoseGraph(config) if graph is None else graph
    solutions = []
    for window in range(robot.windows):
        depth, inside = robot.depth(window), robot.window_from_cam[window]
        if window == 0:
            graph.begin(0, robot.world_from_window(0), inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
            if odometry:
                graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
        if loops and window in loops:
            graph.add_loop(loops[window])
            solutions.append(graph.optimize())
        graph.shrink()
    return graph, solutions


@dataclass
class Quality:
    ate: float  # % of the path, after a rigid alignment
    scale: float  # relative, of the whole
    unit: float  # relative, of each window, median


def judge(graph, robot):
    windows = [window for window in range(robot.windows) if window in graph]
    found = np.stack([graph.map_from_cam(window)[:3, 3] for window in windows])
    truth = robot.world_from_cam[windows][:, :3, 3]
    found, truth = torch.from_numpy(found), torch.from_numpy(truth)
    rigid = fit_sim3(found, truth, scale_estimator="fixed")
    ate = (rigid.apply(found) - truth).square().sum(-1).mean().sqrt()
    units = [float(graph.map_from_submap(window).scale) / robot.unit_m[window] for window in windows]
    return Quality(
        100 * float(ate) / (robot.windows * STEP_M),
        float(fit_sim3(found, truth).scale) - 1,
        float(np.median(units)) - 1,
    )


def exact(seed, **options):
    """A robot whose registrations and wheels are right."""
    robot = Robot(seed, bend_deg=0.0, scale=0.0, **options)
    robot.registration = lambda window: robot.between(window - 1, window)
    robot.odom_from_cam = robot.world_from_cam
    return robot


def errors(graph, robot):
    """Largest of all windows: of scale (relative), of position (metres), of rotation (radians)."""
    worst = np.zeros(3)
    for window in (window for window in range(robot.windows) if window in graph):
        found, truth = graph.map_from_submap(window), robot.world_from_window(window)
        apart = np.linalg.norm(graph.map_from_cam(window)[:3, 3] - robot.world_from_cam[window][:3, 3])
        turned = float(rotation_angle(found.rotation.T @ truth.rotation))
        worst = np.maximum(worst, [abs(float(found.scale / truth.scale) - 1), apart, turned])
    return worst


@pytest.fixture(scope="module")
def closed():
    """A robot's graph with odometry and all true loops."""
    robot = Robot(0)
    return robot, *fill(robot, loops=robot.true_loops())


@pytest.mark.parametrize("odometry", [True, False])
def test_without_noise_everything_is_where_it_was(odometry):
    robot = exact(0, windows=60)
    graph, solutions = fill(robot, odometry=odometry, loops={50: LoopClosure(2, 50, robot.between(2, 50), 0.0)})
    assert len(solutions[0].accepted) == 1
    assert errors(graph, robot).max() < 1e-6


def test_odometry_makes_the_map_metric_from_any_unit():
    robot = exact(1, windows=40)
    graph = PoseGraph()
    start = robot.world_from_window(0)
    start = Sim3(0.3 * start.scale, start.rotation, 0.3 * start.translation)
    graph.begin(0, start, robot.window_from_cam[0], robot.depth(0))
    for window in range(1, robot.windows):
        graph.add_submap(window, robot.registration(window), robot.window_from_cam[window], robot.depth(window))
        graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
    graph.optimize()
    for window in range(robot.windows):
        assert float(graph.map_from_submap(window).scale) == pytest.approx(robot.unit_m[window], rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_300_m_with_odometry_alone(seed):
    robot = Robot(seed, lap=120)
    graph, _ = fill(robot)
    graph.optimize()
    quality = judge(graph, robot)
    assert quality.ate < 0.5  # required are 2
    assert abs(quality.unit) < 0.005
    assert abs(quality.scale) < 0.01


def test_300_m_with_loops(closed):
    robot, graph, solutions = closed
    quality = judge(graph, robot)
    assert quality.ate < 0.05  # required are 0.7
    assert abs(quality.unit) < 0.005
    assert len(graph.loops) == sum(len(solution.accepted) for solution in solutions) == 16
    assert not any(solution.refused for solution in solutions)


def test_loops_help_without_odometry():
    robot = Robot(2)
    graph, _ = fill(robot, odometry=False, loops=robot.true_loops())
    assert judge(graph, robot).ate < 0.2
    robot = Robot(2)
    assert judge(fill(robot, odometry=False)[0], robot).ate > 0.4


def test_the_same_twice_is_the_same(closed):
    robot = Robot(closed[0].seed)
    again, _ = fill(robot, loops=robot.true_loops())
    for window in (17, 239):
        np.testing.assert_array_equal(again.map_from_cam(window), closed[1].map_from_cam(window))


def test_a_loop_that_contradicts_the_rest_is_refused_and_changes_nothing():
    robot = Robot(3, windows=120)
    graph, _ = fill(robot, loops={60: robot.loop(12, 60)})
    graph.optimize()
    before = graph.map_from_cam(119)
    graph.add_loop(robot.loop(20, 100, moved_m=5.0))  # another corridor that looks the same
    solution = graph.optimize()
    assert not solution.accepted
    assert "contradicts it: the squared error would rise by" in solution.refused[0].reason
    assert (solution.refused[0].loop.first, solution.refused[0].loop.second) == (20, 100)
    np.testing.assert_allclose(graph.map_from_cam(119), before, atol=2e-3)
    assert len(graph.loops) == 1


def test_a_false_loop_leaves_when_true_ones_contradict_it():
    robot = Robot(0, windows=120)
    wrong = robot.between(8, 56)
    moved = Sim3(wrong.scale, wrong.rotation, wrong.translation + 1.5 / robot.unit_m[8])
    true = robot.true_loops()
    graph, solutions = fill(robot, odometry=False, loops={56: LoopClosure(8, 56, moved, 0.02)})
    assert solutions[0].accepted  # nothing was known that speaks against it
    graph.add_loop(true[48])
    assert "the rest contradicts it" in graph.optimize().refused[0].reason  # one against one: the older is believed
    graph.add_loop(true[60])
    solution = graph.optimize()
    assert {(loop.first, loop.second) for loop in solution.accepted} == {(0, 48), (12, 60)}
    assert [(entry.loop.first, entry.loop.second) for entry in solution.refused] == [(8, 56)]
    assert len(graph.loops) == 2


def test_merging_keeps_the_graph_small_and_the_map_right():
    config = PoseGraphConfig(max_submaps=60, max_loops=15)
    robot = Robot(4)
    loops = {second: loop for second, loop in robot.true_loops().items() if loop.first % 24 == 0}
    graph = PoseGraph(config)
    gone = {}
    for window in range(robot.windows):
        if window == 0:
            graph.begin(0, robot.world_from_window(0), robot.window_from_cam[0], robot.depth(0))
        else:
            graph.add_submap(window, robot.registration(window), robot.window_from_cam[window], robot.depth(window))
            graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
        if window in loops:
            loop = loops[window]
            first, first_from_its = loop.first, sim3(1.0, np.eye(3), np.zeros(3))
            while first in gone:  # it is known by one that stayed, or by one that stayed then
                first, beside_from_its = gone[first]
                first_from_its = beside_from_its.compose(first_from_its)
            measured = first_from_its.compose(loop.first_from_second)
            graph.add_loop(LoopClosure(first, loop.second, measured, loop.residual))
            assert graph.optimize().accepted
        gone |= graph.shrink()
        assert len(graph) <= 60
    assert len(gone) == robot.windows - 60
    kept = [window for window in range(robot.windows) if window in graph]
    assert kept[0] == 0
    assert max(np.diff(kept)) <= 16  # what stays is spread over the drive
    graph.optimize()
    assert judge(graph, robot).ate < 0.1
    assert len(graph.loops) == len(loops)


def test_too_many_loops_leave_the_ones_that_say_something_else():
    robot = Robot(5, windows=110)
    graph, _ = fill(robot, config=PoseGraphConfig(max_submaps=110, max_loops=2))
    for first, second in ((0, 48), (3, 51), (40, 88)):
        graph.add_loop(robot.loop(first, second))
    graph.optimize()
    assert [(loop.first, loop.second) for loop in graph.loops] == [(3, 51), (40, 88)]


@pytest.mark.parametrize("by", ["loop", "odometry"])
def test_a_part_of_its_own_is_joined(by):
    """A robot that was carried, or blind for a while: the second part begins anywhere, in any unit."""
    robot = exact(6, windows=60)
    graph = PoseGraph()
    elsewhere = sim3(1.0 if by == "odometry" else 3.0, rotation([0.1, 0.2, 2.0]), [50.0, 0.0, 0.0])
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 30):
            placed = robot.world_from_window(window)
            graph.begin(window, elsewhere.compose(placed) if window else placed, inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
            graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
    assert errors(graph, robot)[1] > 10
    if by == "loop":
        graph.add_loop(LoopClosure(5, 53, robot.between(5, 53), 0.0))
        assert "waits for a second one" in graph.optimize().refused[0].reason
        assert errors(graph, robot)[1] > 10
        graph.add_loop(LoopClosure(9, 57, robot.between(9, 57), 0.0))
    else:
        graph.add_odometry(29, 30, robot.odometry(29, 30))
    graph.optimize()
    assert errors(graph, robot).max() < 1e-3


def test_a_robot_that_was_carried_unfelt_by_its_wheels_is_found_by_two_loops():
    """The second part begins where the wheels have it, which is where the robot was lifted; it stands elsewhere."""
    robot = exact(6, windows=60)
    felt = np.linalg.inv(planar(4.0, -7.0, 2.0))
    graph = PoseGraph()
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 30):
            graph.begin(window, robot.world_from_window(window), inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
        if window:
            moved = robot.odometry(window - 1, window)
            graph.add_odometry(window - 1, window, moved @ felt if window == 30 else moved)
    assert errors(graph, robot)[1] > 4
    graph.add_loop(LoopClosure(5, 53, robot.between(5, 53), 0.0))
    assert "contradicts it" in graph.optimize().refused[0].reason
    graph.add_loop(LoopClosure(9, 57, robot.between(9, 57), 0.0))
    assert len(graph.optimize().accepted) == 2
    assert errors(graph, robot).max() < 1e-2


def test_two_loops_that_contradict_each_other_join_nothing():
    robot = exact(6, windows=60)
    graph = PoseGraph()
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 30):
            graph.begin(window, robot.world_from_window(window), inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
    before = graph.map_from_cam(59)
    graph.add_loop(LoopClosure(5, 53, robot.between(5, 53), 0.0))
    graph.add_loop(LoopClosure(20, 57, robot.between(5, 57), 0.0))  # another corridor that looks the same
    solution = graph.optimize()
    assert not solution.accepted
    assert len(solution.refused) == 2
    np.testing.assert_allclose(graph.map_from_cam(59), before, atol=1e-6)


def test_a_merged_submap_is_known_by_the_one_beside_it():
    robot = exact(4, windows=60)
    graph = PoseGraph(PoseGraphConfig(max_submaps=20, max_loops=5))
    for window in range(robot.windows):
        if window == 0:
            graph.begin(0, robot.world_from_window(0), robot.window_from_cam[0], robot.depth(0))
        else:
            graph.add_submap(window, robot.registration(window), robot.window_from_cam[window], robot.depth(window))
        for gone, found in graph.shrink().items():
            beside, beside_from_gone = found
            torch.testing.assert_close(
                beside_from_gone.matrix, robot.between(beside, gone).matrix, atol=1e-6, rtol=1e-6
            )
    assert len(graph) == 20


def test_a_submap_that_alone_joins_registrations_to_odometry_is_never_merged():
    robot = exact(7, windows=131)
    graph, hinge = PoseGraph(PoseGraphConfig(max_submaps=10, max_loops=2)), 31
    windows = [0, 10, 20, 30, hinge, 32, *range(40, 131, 10)]  # the hinge has the nearest neighbours
    graph.begin(0, robot.world_from_window(0), robot.window_from_cam[0], robot.depth(0))
    for before, window in pairwise(windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window == hinge:
            graph.begin(window, robot.world_from_window(window), inside, depth)
        else:
            graph.add_submap(window, robot.between(before, window), inside, depth)
        if window <= hinge:
            graph.add_odometry(before, window, robot.odometry(before, window))
        graph.shrink()
    assert len(graph) == 10
    assert hinge in graph
    graph.add_loop(LoopClosure(0, 130, robot.between(0, 130), 0.0))
    assert graph.optimize().accepted  # everything still hangs together


def test_what_stands_fast_is_moved_by_no_loop():
    robot = exact(6, windows=60)
    graph, lost = PoseGraph(), sim3(1.0, rotation((0, 0, 0.5)), (3.0, -2.0, 0.0))
    for window in range(robot.windows):
        inside, depth = robot.window_from_cam[window], robot.depth(window)
        if window in (0, 20, 40):
            placed = robot.world_from_window(window)
            graph.begin(window, lost.compose(placed) if window else placed, inside, depth, stands_fast=window == 0)
        elif window > 20:
            graph.add_submap(window, robot.registration(window), inside, depth)
    before = graph.map_from_cam(0)
    for first, second in ((0, 45), (0, 55), (25, 48), (30, 58)):  # the last two join submaps that are older
        graph.add_loop(LoopClosure(first, second, robot.between(first, second), 0.0))
        graph.optimize()
    assert len(graph.loops) == 4
    np.testing.assert_array_equal(graph.map_from_cam(0), before)
    for window in (25, 39, 45, 59):
        np.testing.assert_allclose(graph.map_from_cam(window), robot.world_from_cam[window], atol=1e-2)


def test_what_cannot_be_solved_leaves_everything_where_it_was(monkeypatch):
    robot = exact(7, windows=40)
    graph, _ = fill(robot)
    before = [graph.map_from_cam(window) for window in range(40)]

    def fail(*_):
        raise AlignmentError("the pose graph has no solution")

    with monkeypatch.context() as patched:
        patched.setattr(submap_poses, "minimize", fail)
        graph.add_loop(LoopClosure(2, 39, robot.between(2, 39), 0.0))
        with pytest.raises(AlignmentError, match="no solution"):
            graph.optimize()
    for window in range(40):
        np.testing.assert_array_equal(graph.map_from_cam(window), before[window])
    assert graph.loops == ()
    graph.add_loop(LoopClosure(2, 39, robot.between(2, 39), 0.0))
    assert graph.optimize().accepted


def test_what_cannot_be_is_refused():
    robot = Robot(8, windows=3)
    graph = PoseGraph()
    with pytest.raises(InputError, match="no submap before it"):
        graph.add_submap(0, robot.between(0, 1), np.eye(4), 1.0)
    graph, _ = fill(robot)
    with pytest.raises(InputError, match="submaps come in order, got 2 after 2"):
        graph.begin(2, robot.world_from_window(2), np.eye(4), 1.0)
    with pytest.raises(InputError, match="submap 7 is not in the graph"):
        graph.add_loop(LoopClosure(0, 7, robot.between(0, 1), 0.0))
    with pytest.raises(InputError, match="from an older to a newer submap, got 2 and 0"):
        graph.add_loop(LoopClosure(2, 0, robot.between(2, 0), 0.0))
    with pytest.raises(InputError, match="got 1 and 2 once more"):
        graph.add_odometry(1, 2, robot.odometry(1, 2))
    with pytest.raises(InputError, match="a depth above 0, got depth nan"):
        graph.add_submap(3, robot.between(1, 2), np.eye(4), math.nan)
    with pytest.raises(ConfigError, match="a quarter of max_submaps"):
        PoseGraphConfig(max_submaps=100, max_loops=26)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "gtsam", None)
    with pytest.raises(ConfigError, match=r"pip install 'dvlt_ros\[loops\]'"):
        PoseGraph()
