"""A robot that drives 300 m through the corridors of a rectangle, 240 windows; and its pose graph."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from dvlt_ros.alignment import Sim3, fit_sim3
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix, rotation_angle
from dvlt_ros.mapping.pose_graph.config import LoopClosure
from dvlt_ros.mapping.pose_graph.graph import PoseGraph
from dvlt_ros.mapping.pose_graph.hypotheses import LoopHypotheses
from dvlt_ros.mapping.pose_graph.merging import shrink

STEP_M = 1.25
DEPTH_M = 3.0
BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
TICKS = 25  # of the odometry per window


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


def fill(robot, *, odometry=True, closures=None, config=None):
    """Everything in the order of the drive: the graph, its loops, and the decisions about ``closures``."""
    graph = PoseGraph(config)
    loops = LoopHypotheses(graph)
    solutions = []
    for window in range(robot.windows):
        depth, inside = robot.depth(window), robot.window_from_cam[window]
        if window == 0:
            graph.begin_component(0, robot.world_from_window(0), inside, depth)
        else:
            graph.add_submap(window, robot.registration(window), inside, depth)
            if odometry:
                graph.add_odometry(window - 1, window, robot.odometry(window - 1, window))
        if closures and window in closures:
            loops.add(closures[window])
            solutions.append(loops.optimize())
        shrink(graph, loops.submaps)
    return graph, loops, solutions


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
    """A robot with exact registrations and odometry."""
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
