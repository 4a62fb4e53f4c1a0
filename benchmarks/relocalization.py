"""Time until relocalization in a saved map, and false relocalizations in the map of another building.

    python benchmarks/relocalization.py
    python benchmarks/relocalization.py --seeds 0 --drives 1 --unscaled

One drive through a simulated building saves its map to a real file. Another robot starts elsewhere in that building,
with odometry from there, and loads the map; so does a third one in another building of the same plan, with other
furniture and half of the same patterns on its walls. A fooled network takes any two submaps in a joint window for one
place. Robots, odometry and network are those of ``simulated_robot.py``; mapper, loop closure and maps are the real ones
with the node's defaults.

Seconds and metres of the drive count until the first window in the saved map. They are counted twice: since the map was
loaded, and since the first window of eight images from within 1 m and 20 degrees of a camera of the first drive. From
other poses places look different, and such a drive need not be relocalized.

off      error of the first frame in the saved map relative to the nearest camera of the saved path: this would be the
         robot's error on its way to a place on the map
error    distance of the camera from its true position, with the saved path aligned as a whole, which includes errors of
         the saved map and drift of the odometry outside of the saved map
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from simulation.building import make_building
from simulation.network import PredictionNoise, SimulatedPredictor
from simulation.robot import SimulatedRobot, send

from dvlt_ros.alignment import Sim3, fit_sim3
from dvlt_ros.benchmark import machine
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.maps.saved_map import SavedMap
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.suite import Sensors

CAMERA = "front"
LATER_NS = 10**13  # when the other drives begin
ELSEWHERE_M = 100.0  # a multiple of the period of the patterns on the walls
SIMILAR_M = 1.0  # distance and angle of poses from which a place was seen before
SIMILAR_DEG = 20.0
WRONG_M = 1.0  # error of a false relocalization


@dataclass(frozen=True, eq=False)
class Drives:
    """Ground truth of all drives, for the simulated network."""

    robots: tuple[SimulatedRobot, ...]

    @cached_property
    def truth(self) -> Mapping[tuple[str, int], np.ndarray]:
        return {key: world_from_cam for robot in self.robots for key, world_from_cam in robot.truth.items()}

    def depth(self, key: tuple[str, int]) -> np.ndarray:
        return next(robot for robot in self.robots if key in robot.truth).depth(key)


class RobotRun:
    """A robot and its mapper, from its start."""

    def __init__(self, robot: SimulatedRobot, predictor: SimulatedPredictor, is_metric: bool = True) -> None:
        self.robot, self.is_metric = robot, is_metric
        config = MapperConfig(map=MapConfig(voxel_size=0.1), loops=LoopsConfig(LoopDetectorConfig(mode="always")))
        self.mapper = Mapper(config, predictor, Sensors(odometry=robot.camera_in_odom if is_metric else None))
        self.published: dict[int, tuple[int, np.ndarray]] = {}  # map and map_from_cam (4, 4) by stamp

    def drive(self) -> None:
        """All frames, window by window."""
        for frame in self.robot.frames():
            if (update := self.mapper.add(frame)) is not None:
                self.published |= {f.stamp_ns: (f.map_id, f.map_from_cam) for f in update.frames}

    @property
    def refusal(self) -> str:
        """Why the latest loop was refused."""
        return self.mapper.status.values["loop_refusal"].replace("none", "")


@dataclass(frozen=True, eq=False)
class Saved:
    """A map on disk, and the drive that made it."""

    folder: Path
    robot: SimulatedRobot
    found: SavedMap
    world_from_map: Sim3
    ate_m: float  # of its path

    def as_mapped(self, world_from_cam: np.ndarray) -> np.ndarray:
        """map_from_cam (4, 4) of a camera relative to the nearest one of the saved path."""
        path = np.stack([self.robot.truth[CAMERA, stamp_ns] for stamp_ns in self.found.stamps_ns.tolist()])
        nearest = int(np.linalg.norm(path[:, :3, 3] - world_from_cam[:3, 3], axis=1).argmin())
        between = inverse(path[nearest]) @ world_from_cam
        between[:3, 3] /= float(self.world_from_map.scale)
        return np.asarray(self.found.map_from_cam[nearest] @ between)


@dataclass(frozen=True)
class Outcome:
    """Result of one drive with a saved map."""

    similar_s: float | None  # until a window from poses of the first drive; None: never
    joined_s: float | None  # until the first window in the saved map; None: never
    joined_m: float | None
    errors_m: tuple[float, ...]  # of the frames that were published in the saved map
    off_m: float | None  # of the first of them, in the map as it is there
    off_deg: float | None
    refusal: str  # why the latest loop was refused

    @property
    def waited_s(self) -> float | None:
        """Since that window; below zero if relocalization came sooner."""
        return None if self.similar_s is None or self.joined_s is None else self.joined_s - self.similar_s

    @property
    def rms_m(self) -> float:
        return math.sqrt(float(np.mean(np.square(self.errors_m)))) if self.errors_m else math.nan


@dataclass(frozen=True)
class Case:
    """One drive with a saved map."""

    number: int  # of the drive
    is_same: bool
    is_fooled: bool

    @classmethod
    def all(cls, num_drives: int) -> list[Case]:
        """Drives in the saved building and one in another; the last of each also with a fooled network."""
        sound = [cls(number, number < num_drives, False) for number in range(num_drives + 1)]
        return [*sound, *(replace(case, is_fooled=True) for case in sound[-2:])]

    def row(self, seed: int, outcome: Outcome) -> str:
        times = outcome.similar_s, outcome.joined_s, outcome.joined_m, outcome.waited_s
        errors: tuple[float | None, ...] = (None,) * 5
        if outcome.errors_m:
            errors = outcome.off_m, outcome.off_deg, outcome.errors_m[0], outcome.rms_m, max(outcome.errors_m)
        cells = [f"{'-' if value is None else format(value, '.1f'):>8s}" for value in times]
        cells += [
            f"{'-' if value is None else format(value, '.2f'):>{width}s}"
            for value, width in zip(errors, (5, 6, 7, 6, 6), strict=True)
        ]
        where, network = "the same" if self.is_same else "another", "fooled" if self.is_fooled else "sound"
        return f"{seed:4d} {self.number:6d}  {where:>8s}  {network:>8s}  {' '.join(cells)}  {outcome.refusal}"


def save(seed: int, length_m: float, folder: Path, is_metric: bool = True) -> Saved:
    """Saves the map of one drive through its own building to a folder."""
    rng = np.random.default_rng(seed)
    robot = send(make_building(rng), rng, length_m)
    robot_run = RobotRun(robot, SimulatedPredictor(robot, PredictionNoise(), seed), is_metric)
    robot_run.drive()
    robot_run.mapper.save(folder)
    _, saved = robot_run.mapper.open(folder)
    found = torch.from_numpy(saved.map_from_cam[:, :3, 3].copy())
    true = torch.from_numpy(np.stack([robot.truth[CAMERA, stamp_ns][:3, 3] for stamp_ns in saved.stamps_ns.tolist()]))
    world_from_map = fit_sim3(found, true, scale_estimator="fixed" if is_metric else "umeyama")
    ate_m = float((world_from_map.apply(found) - true).square().sum(dim=1).mean().sqrt())
    return Saved(folder, robot, saved, world_from_map, ate_m)


def switch_on(saved: Saved, seed: int, case: Case, length_m: float, is_metric: bool = True) -> Outcome:
    """Another drive, from a random place in the building of the saved map or in another one."""
    rng = np.random.default_rng((seed, case.number))
    building = saved.robot.building if case.is_same else make_building(rng).moved(ELSEWHERE_M)
    begin = int(rng.integers(1, len(building.places)))
    robot = send(building, rng, length_m, begin=begin, start_ns=LATER_NS)
    return beside(saved, robot, seed, 1000 + 10 * seed + case.number, case.is_fooled, is_metric)


def beside(
    saved: Saved, robot: SimulatedRobot, seed: int, error_seed: int, is_fooled: bool = False, is_metric: bool = True
) -> Outcome:
    """A drive after the map was loaded; the patterns on the walls are those of ``seed``, as in the saved map."""
    known = Drives((saved.robot, robot))
    predictor = SimulatedPredictor(known, PredictionNoise(), seed, is_fooled, error_seed=error_seed)
    robot_run = RobotRun(robot, predictor, is_metric)
    robot_run.mapper.load(robot_run.mapper.open(saved.folder)[1])
    robot_run.drive()
    return judged(saved, robot_run)


def judged(saved: Saved, robot_run: RobotRun) -> Outcome:
    robot = robot_run.robot
    stamps_ns = [stamp_ns for stamp_ns, (map_id, _) in robot_run.published.items() if map_id < 0]
    similar = first_similar(saved.robot, robot)
    similar_s = None if similar is None else seconds(robot, int(robot.stamps_ns[similar]))
    if not stamps_ns:
        return Outcome(similar_s, None, None, (), None, None, robot_run.refusal)
    found = torch.from_numpy(np.stack([robot_run.published[stamp_ns][1] for stamp_ns in stamps_ns]))
    true = torch.from_numpy(np.stack([robot.truth[CAMERA, stamp_ns] for stamp_ns in stamps_ns]))
    errors_m = (saved.world_from_map.apply(found[:, :3, 3]) - true[:, :3, 3]).norm(dim=1)
    off = torch.from_numpy(inverse(saved.as_mapped(true[0].numpy()))) @ found[0]
    off_m = float(saved.world_from_map.scale * off[:3, 3].norm())
    off_deg = math.degrees(float(rotation_angle(off[:3, :3])))
    until = robot.world_from_base[robot.stamps_ns <= stamps_ns[0], :3, 3]
    joined_m = float(np.linalg.norm(np.diff(until, axis=0), axis=1).sum())
    return Outcome(
        similar_s, seconds(robot, stamps_ns[0]), joined_m, tuple(errors_m.tolist()), off_m, off_deg, ""
    )  # fmt: skip


def first_similar(first: SimulatedRobot, second: SimulatedRobot) -> int | None:
    """Index of the second drive's first image with which a window of them is from nearly the first drive's poses."""
    ours, theirs = second.world_from_base, first.world_from_base
    near = np.linalg.norm(ours[:, None, :2, 3] - theirs[None, :, :2, 3], axis=-1) < SIMILAR_M
    near &= ours[:, :2, 0] @ theirs[:, :2, 0].T > math.cos(math.radians(SIMILAR_DEG))
    count = MapperConfig().window.size
    whole = np.convolve(near.any(axis=1), np.ones(count), mode="valid") > count - 0.5
    return int(whole.argmax()) + count - 1 if whole.any() else None


def seconds(robot: SimulatedRobot, stamp_ns: int) -> float:
    return float(stamp_ns - robot.stamps_ns[0]) * 1e-9


HEADER = (
    "seed  drive  building   network   similar   joined   driven   waited   off    off   error    rms   most\n"
    "                                        s        s        m        s     m    deg       m      m      m"
)


def summary(found: Sequence[tuple[Case, Outcome]]) -> str:
    joined = [(case, outcome) for case, outcome in found if outcome.errors_m]
    false = sum(not case.is_same or outcome.errors_m[0] > WRONG_M for case, outcome in joined)
    sound = [outcome for case, outcome in found if case.is_same and not case.is_fooled]
    could = [outcome for outcome in sound if outcome.similar_s is not None]
    waited = [outcome.waited_s for outcome in could if outcome.waited_s is not None]
    lines = [f"{len(waited)} of {len(could)} drives joined that saw something from similar poses; {false} false joins"]
    if waited:
        good = [outcome for outcome in sound if outcome.errors_m]
        errors = np.array([(outcome.off_m, outcome.rms_m) for outcome in good])
        off, rms = zip(np.median(errors, axis=0), errors.max(axis=0), strict=True)
        lines += [
            f"waited: {np.median(waited):.1f} s (median), {max(waited):.1f} s at most",
            f"off at joining: {off[0]:.2f} m (median), {off[1]:.2f} m at most; "
            f"rms error from then on: {rms[0]:.2f} m (median), {rms[1]:.2f} m at most",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--drives", type=int, default=3, help="of each seed in the saved building")
    parser.add_argument("--saved-length", type=float, default=80.0, help="metres of the drive whose map is saved")
    parser.add_argument("--length", type=float, default=30.0, help="metres of the others")
    parser.add_argument("--unscaled", action="store_true", help="without odometry")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine(torch.device('cpu'))}\n{HEADER}", flush=True)
    found: list[tuple[Case, Outcome]] = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            saved = save(seed, args.saved_length, Path(folder), not args.unscaled)
            places = len(saved.found.stored_submaps)
            print(f"seed {seed}: {places} places are saved; the path's own ATE is {saved.ate_m:.2f} m", flush=True)
            for case in Case.all(args.drives):
                outcome = switch_on(saved, seed, case, args.length, not args.unscaled)
                found.append((case, outcome))
                print(case.row(seed, outcome), flush=True)
    print(summary(found))


if __name__ == "__main__":
    main()
