"""Localization: how soon, how exactly and how surely a robot is found in a saved map that stays as it is.

    python benchmarks/localization.py
    python benchmarks/localization.py --starts 3 --others 1
    python benchmarks/localization.py --starts 0 --others 3 --wrong-hints 8

One drive through a simulated building saves its map to a real file. Robots are switched on at random places of that
drive, 10 cm and 4 degrees aside (standard deviations), at another time and with odometry from there, and drive on.
They load the map with map.mode localization: first alone, then with a pose hint as a click in RViz gives one, 0.3 m and
10 degrees off (standard deviations). Others drive in other buildings of the same plan, with other furniture and half of
the same patterns on the walls, with a sound network and with one that takes any two submaps in a joint window for one
place: without a hint, with one at the same place of the plan, and with some anywhere on the saved way. Robots, odometry
and network are those of ``simulated_robot.py``; all else is real, with the node's defaults.

found   seconds from the first image until the first frame that is published in the saved map
off     error of that frame relative to the nearest camera of the saved path, as on the way to a place on the map
then    the same for all frames since: median and most
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from relocalization import CAMERA, ELSEWHERE_M, LATER_NS, Drives, Saved, save, seconds
from simulation.building import make_building
from simulation.network import PredictionNoise, SimulatedPredictor
from simulation.robot import SimulatedRobot, along, send

from dvlt_ros.benchmark import machine
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.loops.hint import PoseHint
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.suite import Sensors

DRIVEN_TICKS = 900  # 18 s
ASIDE_M, ASIDE_DEG = 0.1, 4.0
CLICK_M, CLICK_DEG = 0.3, 10.0
SOON_S, NEAR_M = 10.0, 0.15  # what counts as found


@dataclass(frozen=True)
class Outcome:
    """Of one robot."""

    found_s: float | None  # None: never
    off_m: tuple[float, ...] = ()  # of every frame in the saved map

    @property
    def is_good(self) -> bool:
        return self.found_s is not None and self.found_s <= SOON_S and self.off_m[0] <= NEAR_M

    @property
    def row(self) -> str:
        if self.found_s is None:
            return "   never"
        return f"{self.found_s:8.1f} {self.off_m[0]:7.2f} {np.median(self.off_m):7.2f} {max(self.off_m):7.2f}"


def start_again(saved: Saved, rng: np.random.Generator) -> SimulatedRobot:
    """A robot that drives a part of the saved way again, a little aside."""
    poses = saved.robot.world_from_base_at_odometry
    begin = int(rng.integers(0, len(poses) - DRIVEN_TICKS))
    part = poses[begin : begin + DRIVEN_TICKS]
    yaw = np.arctan2(part[:, 1, 0], part[:, 0, 0])
    aside = np.clip(rng.normal(size=3), -1.5, 1.5) * (ASIDE_M, ASIDE_M, math.radians(ASIDE_DEG))
    return along(saved.robot.building, np.column_stack([part[:, :2, 3], yaw]) + aside, rng, start_ns=LATER_NS)


def click(saved: Saved, robot: SimulatedRobot, rng: np.random.Generator) -> PoseHint:
    """The first camera's pose in the saved map, as somebody points at it."""
    stamp_ns = int(robot.stamps_ns[0])
    map_from_cam = saved.as_mapped(robot.truth[CAMERA, stamp_ns])
    angle = math.radians(CLICK_DEG) * rng.normal()
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    map_from_cam[:3, :3] = turn @ map_from_cam[:3, :3]
    map_from_cam[:2, 3] += CLICK_M * rng.normal(size=2)
    return PoseHint(map_from_cam, stamp_ns, CAMERA)


def wrong_hints(saved: Saved, robot: SimulatedRobot, rng: np.random.Generator, count: int) -> list[PoseHint]:
    """For a robot in another building: the same place of the plan, then cameras anywhere on the saved way."""
    stamp_ns = int(robot.stamps_ns[0])
    same = robot.truth[CAMERA, stamp_ns].copy()
    same[0, 3] -= ELSEWHERE_M
    anywhere = saved.found.map_from_cam[rng.integers(0, len(saved.found.map_from_cam), count)]
    poses = [saved.as_mapped(same), *anywhere]
    return [PoseHint(map_from_cam, stamp_ns, CAMERA) for map_from_cam in poses[:count]]


def localize_elsewhere(saved: Saved, seed: int, number: int, num_hints: int) -> list[bool]:
    """Whether each robot of another building was found, all of them falsely."""
    rng = np.random.default_rng((seed, 100 + number))
    building = make_building(rng).moved(ELSEWHERE_M)
    robot = send(building, rng, 30.0, begin=int(rng.integers(1, len(building.places))), start_ns=LATER_NS)
    hints = [None, *wrong_hints(saved, robot, rng, num_hints)]
    was_found = []
    for is_fooled in (False, True):
        for hint_number, hint in enumerate(hints):
            found = localize(saved, robot, seed, 2000 + number, is_fooled, hint)
            was_found.append(found.found_s is not None)
            network, told = "fooled" if is_fooled else "sound", f"hint {hint_number}" if hint else "no hint"
            print(f"other building {number}, network {network}, {told}: {found.row}", flush=True)
    return was_found


def localize(
    saved: Saved, robot: SimulatedRobot, seed: int, error_seed: int, is_fooled: bool = False,
    hint: PoseHint | None = None,
) -> Outcome:  # fmt: skip
    """Drives with the saved map; the patterns on the walls are those of ``seed``, as in the saved map."""
    drives = Drives((saved.robot, robot))
    predictor = SimulatedPredictor(drives, PredictionNoise(), seed, is_fooled, error_seed=error_seed)
    config = MapperConfig(map=MapConfig(mode="localization", voxel_size=0.1))
    mapper = Mapper(config, predictor, Sensors(odometry=robot.camera_in_odom))
    mapper.load(mapper.open(saved.folder)[1])
    if hint is not None:
        mapper.hint(hint)
    found_s, off_m = None, []
    for frame in robot.frames():
        update = mapper.add(frame)
        if update is None or not update.is_placed:
            continue
        for placed in update.frames:
            if found_s is None:
                found_s = seconds(robot, frame.stamp_ns)  # when the window ran
            expected = saved.as_mapped(robot.truth[CAMERA, placed.stamp_ns])
            off_m.append(float(np.linalg.norm((inverse(expected) @ placed.map_from_cam)[:3, 3])))
    return Outcome(found_s, tuple(off_m))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--others", type=int, default=3, help="other buildings, each with a robot and two networks")
    parser.add_argument("--wrong-hints", type=int, default=4, help="in each of them, beside none")
    parser.add_argument("--saved-length", type=float, default=80.0, help="metres of the drive whose map is saved")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(torch.device("cpu")), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        saved = save(args.seed, args.saved_length, Path(folder))
        print(f"{len(saved.found.stored_submaps)} places are saved\nstart  hint   found s   off m  then m  most m")
        alone, hinted = [], []
        for number in range(args.starts):
            rng = np.random.default_rng((args.seed, number))
            robot = start_again(saved, rng)
            hint = click(saved, robot, rng)
            alone.append(localize(saved, robot, args.seed, 1000 + number))
            hinted.append(localize(saved, robot, args.seed, 1000 + number, hint=hint))
            print(f"{number:5d}    no  {alone[-1].row}\n{number:5d}   yes  {hinted[-1].row}", flush=True)
        false = []
        for number in range(args.others):
            false += localize_elsewhere(saved, args.seed, number, args.wrong_hints)
    for name, outcomes in (("alone", alone), ("with a hint", hinted)) if args.starts else ():
        times = [outcome.found_s for outcome in outcomes if outcome.found_s is not None]
        good = sum(outcome.is_good for outcome in outcomes)
        print(
            f"{name}: {good} of {len(outcomes)} found within {SOON_S:g} s and {NEAR_M:g} m; "
            f"{np.median(times):.1f} s (median), {max(times):.1f} s at most"
        )
    print(f"other buildings: {sum(false)} of {len(false)} falsely found")


if __name__ == "__main__":
    main()
