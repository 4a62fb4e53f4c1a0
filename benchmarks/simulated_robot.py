"""Trajectory and scale of a robot's drive of 300 m through a building, beside those of odometry alone.

    python benchmarks/simulated_robot.py
    python benchmarks/simulated_robot.py --loops
    python benchmarks/simulated_robot.py --length 60 --seeds 0

Robot and odometry are those of ``simulation/building.py``, the network is the nearly perfect one of
``simulation/network.py``; everything else is the real pipeline. ATE: root mean square error of the camera's position in
% of the path, after a rigid alignment (SE3) or one with scale (Sim3).

With ``--loops`` places are recognized by simulated features, and loops are closed by the real code; a second ATE is
that of the path after the last correction. ``--fooled``: a network that takes any two submaps in a joint window for one
place.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from simulation.network import PredictionNoise, SimulatedPredictor
from simulation.robot import TWO_CAMERAS, OdometryNoise, SimulatedRobot, make_robot

from dvlt_ros.alignment import ScaleEstimator, fit_sim3
from dvlt_ros.benchmark import machine
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.mapping.front_end.window_result import WindowResult
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.rig import Rig
from dvlt_ros.mapping.sensors.suite import Sensors
from dvlt_ros.mapping.status import MapperStatus

SECTION_M = 10.0  # of the path, over which the scale is compared


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
    """Results of a drive; of a rig only the first camera's frames count."""

    robot: SimulatedRobot
    updates: list[MapUpdate]  # in metres, by odometry or by the distance of two cameras
    status: MapperStatus  # at the end

    @property
    def seen(self) -> np.ndarray:
        """(N, 4, 4) of all frames, by vision alone."""
        return np.stack([r.map_from_cam for r in self._leading([update.visual for update in self.updates])])

    @property
    def true(self) -> np.ndarray:
        """(N, 4, 4), the truth of the same frames."""
        return self._true(self._leading([update.visual for update in self.updates]))

    @property
    def metric(self) -> tuple[np.ndarray, np.ndarray]:
        """map_from_cam (M, 4, 4) of the frames since the scale is locked, as published, and their truth."""
        found = self._leading([update.window for update in self.updates if update.is_metric])
        return np.stack([r.map_from_cam for r in found]), self._true(found)

    @property
    def corrected(self) -> np.ndarray:
        """map_from_cam (M, 4, 4) of the frames since the scale is locked, after all later corrections."""
        poses, submap_ids = np.empty((0, 4, 4)), np.empty(0, np.int64)
        for update in (update for update in self.updates if update.is_metric):
            for correction in update.corrections:
                poses = correction.poses(0, submap_ids, poses)
            found = self._leading([update.window])
            poses = np.concatenate([poses, np.stack([r.map_from_cam for r in found])])
            assert update.window is not None
            submap_ids = np.concatenate([submap_ids, np.full(len(found), update.window.submap_id)])
        return poses

    @property
    def steps(self) -> np.ndarray:
        """(W, 2): metres and degrees by which map -> odom moved the camera between windows without loop closures."""
        metric = [update for update in self.updates if update.is_metric]
        return np.array([step(before, after) for before, after in pairwise(metric) if not after.corrections])

    def _leading(self, windows: Sequence[WindowResult | None]) -> list[Reconstruction]:
        name = next(iter(self.robot.base_from_cam))
        frames = [frame for window in windows if window is not None for frame in window.reconstructions]
        return [frame for frame in frames if frame.frame_id == name]

    def _true(self, found: Sequence[Reconstruction]) -> np.ndarray:
        return np.stack([self.robot.truth[r.frame_id, r.stamp_ns] for r in found])


def run(
    robot: SimulatedRobot,
    noise: PredictionNoise,
    seed: int = 0,
    has_odometry: bool = True,
    has_loops: bool = False,
    is_fooled: bool = False,
) -> Drive:
    """Runs the mapper, window by window; without odometry several cameras give the metric scale."""
    mounts = robot.base_from_cam
    messages: list[str] = []
    rig = Rig(tuple(mounts), mounts.__getitem__) if len(mounts) > 1 else None
    sensors = Sensors(rig, robot.camera_in_odom if has_odometry else None)
    config = MapperConfig(loops=LoopsConfig(LoopDetectorConfig(mode="always" if has_loops else "never")))
    mapper = Mapper(config, SimulatedPredictor(robot, noise, seed, is_fooled), sensors, messages.append)
    updates = [update for frame in robot.frames() if (update := mapper.add(frame)) is not None]
    if problems := [message for message in messages if not message.startswith("a loop is closed")]:
        raise RuntimeError(f"the mapper complained: {problems[0]} (and {len(problems) - 1} more)")
    return Drive(robot, updates, mapper.status)


def step(before: MapUpdate, after: MapUpdate) -> tuple[float, float]:
    assert before.map_from_odom is not None
    assert after.map_from_odom is not None
    map_from_cam = after.frames[-1].map_from_cam
    was = before.map_from_odom @ inverse(after.map_from_odom) @ map_from_cam
    moved = torch.from_numpy(inverse(was) @ map_from_cam)
    return float(moved[:3, 3].norm()), math.degrees(float(rotation_angle(moved[:3, :3])))


def odometry_positions(robot: SimulatedRobot) -> np.ndarray:
    """(F, 3) of the camera by odometry alone."""
    (base_from_cam,), history = robot.base_from_cam.values(), robot.odometry
    return np.stack([(history.at(s).odom_from_base @ base_from_cam)[:3, 3] for s in robot.stamps_ns.tolist()])


def scale_errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Logarithms of found over true length of sections of the path: sums of squared distances within 10 m."""
    path = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(true, axis=0), axis=1))])
    starts = np.searchsorted(path, np.arange(0, path[-1], SECTION_M))
    return np.array([math.log(_size(found[a:b]) / _size(true[a:b])) for a, b in pairwise(starts)])


def baseline_scale_errors(robot: SimulatedRobot, noise: PredictionNoise, seed: int = 0) -> np.ndarray:
    """Of a rig without odometry: relative errors of the published lengths, over sections of 10 m."""
    found, true = run(robot, noise, seed, has_odometry=False).metric
    return np.expm1(scale_errors(found[:, :3, 3], true[:, :3, 3]))


def _size(positions: np.ndarray) -> float:
    return float(np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum()))


def _aligned(found: np.ndarray, true: np.ndarray, scale: ScaleEstimator) -> float:
    source, target = torch.from_numpy(found), torch.from_numpy(true)
    error = fit_sim3(source, target, scale_estimator=scale).apply(source) - target
    return float(error.square().sum(dim=1).mean().sqrt())


def judge(
    seed: int, length_m: float, noise: PredictionNoise, odometry_noise: OdometryNoise, has_loops: bool, is_fooled: bool
) -> str:
    """One row of the table."""
    start = time.perf_counter()
    robot = make_robot(seed, length_m, odometry_noise=odometry_noise)
    odometry = TrajectoryError.of(odometry_positions(robot), np.stack(list(robot.truth.values()))[:, :3, 3])
    drive = run(robot, noise, seed, has_loops=has_loops, is_fooled=is_fooled)
    visual = TrajectoryError.of(drive.seen[:, :3, 3], drive.true[:, :3, 3])
    drift = scale_errors(drive.seen[:, :3, 3], drive.true[:, :3, 3])
    found, true = (poses[:, :3, 3] for poses in drive.metric)
    error, metric = scale_errors(found, true), TrajectoryError.of(found, true)
    locked = next(i for i, update in enumerate(drive.updates) if update.is_metric)
    corrected = TrajectoryError.of(drive.corrected[:, :3, 3], true)
    ate = [100 / robot.length_m * value for value in (odometry.se3_m, visual.sim3_m, metric.se3_m, corrected.se3_m)]
    scale = [100 * value for value in (drift.max() - drift.min(), error.mean(), np.sqrt((error**2).mean()))]
    metres, degrees = drive.steps.max(axis=0)
    closed, refused = (drive.status.values.get(f"loops_{name}", "0") for name in ("closed", "refused"))
    return (
        f"{seed:4d}  {robot.length_m:6.0f} {len(drive.seen):7d} {len(drive.updates):8d}"
        f" {' '.join(f'{value:8.2f}' for value in ate)}  {' '.join(f'{value:8.2f}' for value in scale)}"
        f"  {100 * metres:7.1f} {degrees:7.2f}  {locked + 1:8d}  {closed:>6s} {refused:>7s}"
        f"  {time.perf_counter() - start:5.0f}"
    )


HEADER = (
    "seed  path m  frames  windows odometry   visual   metric     path     drift    scale    scale"
    "     step    step    locked   loops   loops      s\n"
    "                                   SE3     Sim3      SE3      SE3  of scale     mean      rms"
    "       cm     deg  at window  closed refused"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=float, default=300.0, help="metres")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    usual = OdometryNoise().heading_per_metre
    parser.add_argument("--heading-per-metre", type=float, default=usual, help="rad after 1 m driven straight on")
    parser.add_argument("--loops", action="store_true", help="close loops")
    parser.add_argument(
        "--fooled",
        action="store_true",
        help="with a network that takes any two submaps of a joint window for one place",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    noise = PredictionNoise()
    odometry_noise = OdometryNoise(heading_per_metre=args.heading_per_metre)
    print(machine(torch.device("cpu")))
    print("ATE in % of the path; drift of the visual scale and error of the metric one in % over sections of 10 m;")
    print("step: largest one of map -> odom between two windows, at the camera")
    print(HEADER)
    for seed in args.seeds:
        print(judge(seed, args.length, noise, odometry_noise, args.loops, args.fooled), flush=True)
    for seed in () if args.loops else args.seeds:
        rig = make_robot(seed, args.length, TWO_CAMERAS)
        errors = 100 * baseline_scale_errors(rig, noise, seed)
        mean = errors.mean()
        rms = np.sqrt((errors**2).mean())
        most = np.abs(errors).max()
        print(
            f"seed {seed}: two cameras 0.3 m apart, no odometry, {rig.length_m:.0f} m: "
            f"scale wrong by {mean:+.2f} % on average, {rms:.2f} % rms, {most:.2f} % at most",
            flush=True,
        )


if __name__ == "__main__":
    main()
