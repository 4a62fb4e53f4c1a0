"""Trajectory and scale of a robot's drive of 300 m through a building, beside what its wheels alone would give.

    python benchmarks/simulated_robot.py
    python benchmarks/simulated_robot.py --length 60 --seeds 0

Robot and wheels are those of ``simulated_building.py``, the network is the nearly perfect one of
``simulated_network.py``; engine and seams are the real ones. ATE: root mean square distance of the camera to where it
really was, in % of the path, after an alignment that may turn and move (SE3) and also scale (Sim3) the trajectory.
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
from dvlt_ros.engine.metric_scale import MetricScale, MetricScaleConfig, ScaleStatus
from dvlt_ros.engine.odometry import OdometryHistory, inverse
from dvlt_ros.engine.scale_sources import (
    NoObservation,
    ScaleObservation,
    scale_from_baseline,
    scale_from_odometry,
)
from dvlt_ros.engine.windows import View

STRETCH_M = 10.0  # of the path, over which the scale is compared
WARM_UP = 0.1  # of the windows, that are not judged


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
    """What came out of the engine along a drive of one camera."""

    robot: SimulatedRobot
    windows: list[WindowResult]
    map_from_cam: np.ndarray  # (N, 4, 4)
    world_from_cam: np.ndarray  # (N, 4, 4), the truth of the same frames


def run(robot: SimulatedRobot, noise: PredictionNoise, config: EngineConfig | None = None, seed: int = 0) -> Drive:
    """Through the engine, window by window."""
    (name,) = robot.base_from_cam
    problems: list[str] = []
    engine = Engine(SimulatedPredictor(robot, noise, seed), config or EngineConfig(), problems.append)  # type: ignore[arg-type]
    windows = []
    for frame in robot.frames():
        engine.admit(frame)
        if engine.is_full() and (window := engine.run()) is not None:
            windows.append(window)
    if problems:
        raise RuntimeError(f"the engine complained: {problems[0]} (and {len(problems) - 1} more)")
    found = [r for window in windows for r in window.reconstructions]
    return Drive(
        robot, windows,
        np.stack([r.map_from_cam for r in found]), np.stack([robot.truth[name, r.stamp_ns] for r in found]),
    )  # fmt: skip


def observe(window: WindowResult, robot: SimulatedRobot, history: OdometryHistory) -> ScaleObservation | NoObservation:
    """What the wheels say of one window."""
    (base_from_cam,) = robot.base_from_cam.values()
    found = [history.at(r.stamp_ns) for r in window.reconstructions]
    return scale_from_odometry(
        np.stack([r.map_from_cam for r in window.reconstructions]),
        np.stack([pose.odom_from_base @ base_from_cam for pose in found]),
        np.array([pose.stretch for pose in found]),
    )


def scales(drive: Drive, config: MetricScaleConfig | None = None) -> list[ScaleStatus]:
    """After every window."""
    scale, history = MetricScale(config), drive.robot.odometry()
    return [
        scale.observe(w.map_id, w.reconstructions[-1].stamp_ns, [observe(w, drive.robot, history)])
        for w in drive.windows
    ]


def metric_positions(drive: Drive, statuses: list[ScaleStatus]) -> np.ndarray:
    """(N, 3) metres: steps of the camera, each in the scale of its window, so that no correction moves the past."""
    first = next(s.metres_per_unit for s in statuses if s.state == "locked")
    per_window = [s.metres_per_unit if s.state == "locked" else first for s in statuses]
    counts = [len(w.reconstructions) for w in drive.windows]
    per_frame = np.repeat(np.array(per_window, dtype=np.float64), counts)
    steps = np.diff(drive.map_from_cam[:, :3, 3], axis=0, prepend=drive.map_from_cam[:1, :3, 3])
    return np.cumsum(per_frame[:, None] * steps, axis=0)


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
    drive = run(robot, noise, seed=seed)
    true = drive.world_from_cam[:, :3, 3]
    visual = TrajectoryError.of(drive.map_from_cam[:, :3, 3], true)
    statuses = scales(drive)
    positions = metric_positions(drive, statuses)
    metric = TrajectoryError.of(positions, true)
    drift = scale_errors(drive.map_from_cam[:, :3, 3], true)
    error = scale_errors(positions, true)[math.ceil(WARM_UP * len(drift)) :]
    locked = next(i for i, s in enumerate(statuses) if s.state == "locked")
    ate = [100 / robot.length_m * value for value in (wheels.se3_m, visual.sim3_m, metric.se3_m, metric.sim3_m)]
    scale = [100 * value for value in (drift.max() - drift.min(), error.mean(), np.sqrt((error**2).mean()))]
    return (
        f"{seed:4d}  {robot.length_m:6.0f} {len(drive.map_from_cam):7d} {len(drive.windows):8d}"
        f" {' '.join(f'{value:8.2f}' for value in ate)}  {' '.join(f'{value:8.2f}' for value in scale)}"
        f"  {locked + 1:8d}  {time.perf_counter() - start:5.0f}"
    )


HEADER = (
    "seed  path m  frames  windows    wheels   visual   metric   metric     drift    scale    scale    locked      s\n"
    "                                   SE3     Sim3      SE3     Sim3   of scale    mean      rms  at window"
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
    print("ATE in % of the path; drift of the visual scale and error of the metric one in % over stretches of 10 m")
    print(HEADER)
    for seed in args.seeds:
        print(judge(seed, args.length, noise, wheels), flush=True)
    for seed in args.seeds:
        rig = make_robot(seed, min(args.length, 60.0), TWO_CAMERAS)
        error = baseline_scale_error(rig, noise, seed)
        print(f"seed {seed}: two cameras 0.3 m apart, scale of one window by the baseline alone: {100 * error:.2f} %")


if __name__ == "__main__":
    main()
