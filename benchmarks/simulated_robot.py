"""Trajectory and scale of a robot's drive of 300 m through a building, beside what its wheels alone would give.

    python benchmarks/simulated_robot.py
    python benchmarks/simulated_robot.py --length 60 --seeds 0

Robot and wheels are those of ``simulated_building.py``, the network is the nearly perfect one of
``simulated_network.py``; engine, seams and metric map are the real ones. ATE: root mean square distance of the camera
to where it really was, in % of the path, after an alignment that may turn and move (SE3) and also scale (Sim3) it.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from simulated_building import TWO_CAMERAS, SimulatedRobot, WheelNoise, make_robot
from simulated_network import PredictionNoise, SimulatedPredictor

from dvlt_ros.alignment import ScaleEstimator, fit_sim3
from dvlt_ros.benchmark import machine
from dvlt_ros.engine.config import EngineConfig
from dvlt_ros.engine.engine import Engine, WindowResult
from dvlt_ros.engine.metric_map import CameraInOdom, MetricMap, PlacedWindow
from dvlt_ros.engine.metric_scale import MetricScaleConfig
from dvlt_ros.engine.odometry import inverse
from dvlt_ros.engine.scale_sources import ScaleObservation, scale_from_baseline
from dvlt_ros.engine.windows import View
from dvlt_ros.geometry import rotation_angle

STRETCH_M = 10.0  # of the path, over which the scale is compared


@dataclass(frozen=True)
class TrajectoryError:
    """Root mean square distances."""

    se3_m: float
    sim3_m: float

    @classmethod
    def of(cls, found: np.ndarray, true: np.ndarray) -> TrajectoryError:
        """Of positions (N, 3)."""
        return cls(_aligned(found, true, "fixed"), _aligned(found, true, "umeyama"))


@dataclass(frozen=True, eq=False)
class Drive:
    """What came out along a drive of one camera."""

    robot: SimulatedRobot
    windows: list[WindowResult]  # of the engine: vision alone
    placed: list[PlacedWindow]  # with the wheels

    @property
    def seen(self) -> np.ndarray:
        """(N, 4, 4) of all frames, by vision alone."""
        return np.stack([r.map_from_cam for window in self.windows for r in window.reconstructions])

    @property
    def true(self) -> np.ndarray:
        """(N, 4, 4), the truth of the same frames."""
        return self._true([r.stamp_ns for window in self.windows for r in window.reconstructions])

    @property
    def metric(self) -> tuple[np.ndarray, np.ndarray]:
        """(M, 4, 4) of the frames from the lock on, as they leave the node, and their truth."""
        found = [r for p in self.placed if p.is_metric for r in p.window.reconstructions]
        return np.stack([r.map_from_cam for r in found]), self._true([r.stamp_ns for r in found])

    @property
    def steps(self) -> np.ndarray:
        """(W, 2): by how many metres and degrees map -> odom moved the camera, from window to window."""
        return np.array([step(before, after) for before, after in pairwise(p for p in self.placed if p.is_metric)])

    def _true(self, stamps_ns: list[int]) -> np.ndarray:
        (name,) = self.robot.base_from_cam
        return np.stack([self.robot.truth[name, stamp_ns] for stamp_ns in stamps_ns])


def run(robot: SimulatedRobot, noise: PredictionNoise, seed: int = 0) -> Drive:
    """Through engine and map, window by window."""
    (base_from_cam,), history = robot.base_from_cam.values(), robot.odometry()
    problems: list[str] = []
    engine = Engine(SimulatedPredictor(robot, noise, seed), EngineConfig(), problems.append)  # type: ignore[arg-type]

    def look_up(stamp_ns: int, _: str) -> CameraInOdom:
        found = history.at(stamp_ns)
        return CameraInOdom(found.odom_from_base @ base_from_cam, found.stretch)

    metric, windows, placed = MetricMap(look_up, MetricScaleConfig()), [], []
    for frame in robot.frames():
        engine.admit(frame)
        if engine.is_full() and (window := engine.run()) is not None:
            windows.append(window)
            placed.append(metric.place(window))
    if problems:
        raise RuntimeError(f"the engine complained: {problems[0]} (and {len(problems) - 1} more)")
    return Drive(robot, windows, placed)


def step(before: PlacedWindow, after: PlacedWindow) -> tuple[float, float]:
    assert before.map_from_odom is not None
    assert after.map_from_odom is not None
    map_from_cam = after.window.reconstructions[-1].map_from_cam
    was = before.map_from_odom @ inverse(after.map_from_odom) @ map_from_cam
    moved = torch.from_numpy(inverse(was) @ map_from_cam)
    return float(moved[:3, 3].norm()), math.degrees(float(rotation_angle(moved[:3, :3])))


def odometry_positions(robot: SimulatedRobot) -> np.ndarray:
    """(F, 3) of the camera by the wheels alone."""
    (base_from_cam,), history = robot.base_from_cam.values(), robot.odometry()
    return np.stack([(history.at(s).odom_from_base @ base_from_cam)[:3, 3] for s in robot.stamps_ns.tolist()])


def scale_errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Logarithms of found over true length of stretches of the path: sums of squared distances within 10 m."""
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(true, axis=0), axis=1))])
    starts = np.searchsorted(way, np.arange(0, way[-1], STRETCH_M))
    return np.array([math.log(_size(found[a:b]) / _size(true[a:b])) for a, b in pairwise(starts)])


def baseline_scale_error(robot: SimulatedRobot, noise: PredictionNoise, seed: int = 0) -> float:
    """Of a rig alone: windows of both cameras, each window a map of its own, relative error of what is locked.

    Within a window there is no seam, so that this is the error of the source, not of the map's drift.
    """
    first, second = robot.base_from_cam.values()
    predictor, frames = SimulatedPredictor(robot, noise, seed), robot.frames()
    views = [View(number, frame, frame.load()) for number, frame in enumerate(frames)]
    errors = []
    for start in range(0, len(views) - 7, 8):
        prediction = predictor.predict(views[start : start + 8], 2, 28, range(8))
        poses = prediction.window_from_cam
        found = scale_from_baseline(poses[0::2], poses[1::2], inverse(first) @ second)
        if isinstance(found, ScaleObservation):
            true = np.stack([robot.truth[v.frame.frame_id, v.frame.stamp_ns] for v in views[start : start + 8]])
            truth = _size(true[:, :3, 3]) / _size(poses[:, :3, 3])
            errors.append(found.log_scale - math.log(truth))
    return math.expm1(float(np.median(np.abs(errors))))


def _size(positions: np.ndarray) -> float:
    return float(np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum()))


def _aligned(found: np.ndarray, true: np.ndarray, scale: ScaleEstimator) -> float:
    source, target = torch.from_numpy(found), torch.from_numpy(true)
    error = fit_sim3(source, target, scale_estimator=scale).apply(source) - target
    return float(error.square().sum(dim=1).mean().sqrt())


def judge(seed: int, length_m: float, noise: PredictionNoise, wheel_noise: WheelNoise) -> str:
    """One row of the table."""
    start = time.perf_counter()
    robot = make_robot(seed, length_m, wheels=wheel_noise)
    wheels = TrajectoryError.of(odometry_positions(robot), np.stack(list(robot.truth.values()))[:, :3, 3])
    drive = run(robot, noise, seed)
    visual = TrajectoryError.of(drive.seen[:, :3, 3], drive.true[:, :3, 3])
    drift = scale_errors(drive.seen[:, :3, 3], drive.true[:, :3, 3])
    found, true = (poses[:, :3, 3] for poses in drive.metric)
    error, metric = scale_errors(found, true), TrajectoryError.of(found, true)
    locked = next(i for i, placed in enumerate(drive.placed) if placed.is_metric)
    ate = [100 / robot.length_m * value for value in (wheels.se3_m, visual.sim3_m, metric.se3_m)]
    scale = [100 * value for value in (drift.max() - drift.min(), error.mean(), np.sqrt((error**2).mean()))]
    metres, degrees = drive.steps.max(axis=0)
    return (
        f"{seed:4d}  {robot.length_m:6.0f} {len(drive.seen):7d} {len(drive.windows):8d}"
        f" {' '.join(f'{value:8.2f}' for value in ate)}  {' '.join(f'{value:8.2f}' for value in scale)}"
        f"  {100 * metres:7.1f} {degrees:7.2f}  {locked + 1:8d}  {time.perf_counter() - start:5.0f}"
    )


HEADER = (
    "seed  path m  frames  windows   wheels   visual   metric     drift    scale    scale"
    "     step    step    locked      s\n"
    "                                   SE3     Sim3      SE3  of scale     mean      rms"
    "       cm     deg  at window"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=float, default=300.0, help="metres")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    usual = WheelNoise().heading_per_metre
    parser.add_argument("--heading-per-metre", type=float, default=usual, help="rad after 1 m driven straight on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    noise, wheels = PredictionNoise(), WheelNoise(heading_per_metre=args.heading_per_metre)
    print(machine(torch.device("cpu")))
    print("ATE in % of the path; drift of the visual scale and error of the metric one in % over stretches of 10 m;")
    print("step: largest one of map -> odom between two windows, at the camera")
    print(HEADER)
    for seed in args.seeds:
        print(judge(seed, args.length, noise, wheels), flush=True)
    for seed in args.seeds:
        rig = make_robot(seed, min(args.length, 60.0), TWO_CAMERAS)
        error = baseline_scale_error(rig, noise, seed)
        print(f"seed {seed}: two cameras 0.3 m apart, scale of one window by the baseline alone: {100 * error:.2f} %")


if __name__ == "__main__":
    main()
