"""Mesh and occupancy grid of a simulated drive through a building, beside the truth.

    python benchmarks/surfaces.py
    python benchmarks/surfaces.py --length 60 --seeds 0 1 2
    python benchmarks/surfaces.py --people ahead --detect moving

Robot and odometry are those of ``simulation/building.py``; the network knows depth and poses exactly, everything else
is the real pipeline with closed loops. Once a second mesh and grid are read, as the node does with subscribers. People
walk through: each one crosses before the robot and is gone. Or somebody walks ahead of it, between a fifth and four
fifths of the drive.

mesh     distance of its vertices from the nearest true surface, after a rigid alignment of the path
cells    known cells of 5 cm that are right: occupied where anything between the two heights is inside of the cell
trace    vertices and occupied cells where people went and nothing else is
kept     time for keeping keyframes, per frame; per frame: the same with mesh and grid once a second
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TypeVar, get_args

import numpy as np
import torch
from simulation.building import SPEED, Building
from simulation.network import PredictionNoise, SimulatedPredictor
from simulation.robot import START_NS, SimulatedRobot, make_robot

from dvlt_ros.alignment import Sim3, fit_sim3
from dvlt_ros.benchmark import machine
from dvlt_ros.errors import InputError
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.sensors.suite import Sensors
from dvlt_ros.mapping.submaps.config import Detected, MasksConfig
from dvlt_ros.mapping.surfaces.config import SurfacesConfig
from dvlt_ros.mapping.surfaces.grid import OCCUPIED, UNKNOWN, Band, Grid
from dvlt_ros.mapping.surfaces.mesh import Mesh
from dvlt_ros.mapping.surfaces.surface_map import SurfaceMap

EXACT = PredictionNoise(noise=0.0, outliers=0.0, warp=0.0, bend_deg=0.0)
BAND = Band(0.05, 2.0)
PERSON_M = (0.5, 0.5, 1.7)
AHEAD_S, WALK_S, EVERY_S = 5.0, 4.0, 10.0  # how far ahead a person crosses, for how long, and from one to the next
LEAD_S, LEADING = 3.0, (0.2, 0.8)  # how far ahead somebody walks, and in which part of the drive
CLEAR_M = 0.2  # what is closer to a true surface is no trace of a person
SECOND_NS = 1_000_000_000
UP = np.array([0.0, 0.0, 1.0])
SAMPLES = 4  # along each side of a cell
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class PeopledRobot(SimulatedRobot):
    """A drive on which people cross before the robot, or somebody walks ahead of it."""

    is_led: bool = False

    def person(self, stamp_ns: int) -> np.ndarray | None:
        """(2, 3) lower and upper corner of the person at that time; None: nobody is there."""
        place = self._leading(stamp_ns) if self.is_led else self._crossing(stamp_ns)
        if place is None:
            return None
        x, y = place
        width, depth, height = PERSON_M
        return np.array([(x - width / 2, y - depth / 2, 0.0), (x + width / 2, y + depth / 2, height)], np.float32)

    def _leading(self, stamp_ns: int) -> np.ndarray | None:
        part = (stamp_ns - self.stamps_ns[0]) / (self.stamps_ns[-1] - self.stamps_ns[0])
        return self._at(stamp_ns + int(LEAD_S * 1e9))[:2, 3] if LEADING[0] <= part <= LEADING[1] else None

    def _crossing(self, stamp_ns: int) -> np.ndarray | None:
        since_s = (stamp_ns - START_NS) * 1e-9 % EVERY_S - EVERY_S / 2
        if not 0 <= since_s < WALK_S:
            return None
        met_ns = stamp_ns + int((AHEAD_S - since_s) * 1e9)  # when the robot would be where the person crosses its way
        world_from_base = self._at(met_ns)
        place: np.ndarray = world_from_base[:2, 3] + world_from_base[:2, 1] * SPEED * (since_s - WALK_S / 2)
        return place

    def _at(self, stamp_ns: int) -> np.ndarray:
        """world_from_base (4, 4) at that time."""
        at = min(int(np.searchsorted(self.odometry_stamps_ns, stamp_ns)), len(self.odometry_stamps_ns) - 1)
        return self.world_from_base_at_odometry[at]

    def people(self) -> np.ndarray:
        """(P, 2, 3) of every image with somebody."""
        found = [person for stamp_ns in self.stamps_ns.tolist() if (person := self.person(stamp_ns)) is not None]
        return np.array(found, np.float32).reshape(-1, 2, 3)

    def depth(self, key: tuple[str, int]) -> np.ndarray:
        """With the person before the building."""
        if key not in self._depths and (person := self.person(key[1])) is not None:
            boxes = np.concatenate([self.building.boxes, person[None]])
            self._depths[key] = Building(boxes, self.building.places, self.building.neighbours).depth(self.truth[key])
        return super().depth(key)


def with_people(robot: SimulatedRobot, is_led: bool = False) -> PeopledRobot:
    return PeopledRobot(**{part.name: getattr(robot, part.name) for part in fields(robot)}, is_led=is_led)


@dataclass(eq=False)
class Drive:
    """A drive with what has been measured on the way."""

    robot: PeopledRobot
    surfaces: SurfaceMap
    num_frames: int = 0
    closed_loops: str = "0"
    kept_ms: list[float] = field(default_factory=list)  # per window
    read_ms: list[float] = field(default_factory=list)  # per second of the drive
    num_bytes: list[int] = field(default_factory=list)  # every second
    stamps_ns: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # of the final path
    map_from_cam: np.ndarray = field(default_factory=lambda: np.empty((0, 4, 4)))

    @property
    def overhead_ms(self) -> float:
        """Per frame."""
        return (sum(self.kept_ms) + sum(self.read_ms)) / self.num_frames

    @property
    def world_from_map(self) -> Sim3:
        """Rigid, by the final path; a path in a plane tells nothing of a tilt, points above it do."""
        (name,) = self.robot.base_from_cam
        truth = np.stack([self.robot.truth[name, stamp_ns] for stamp_ns in self.stamps_ns.tolist()])
        source, target = (
            torch.from_numpy(np.concatenate([poses[:, :3, 3], poses[:, :3, 3] + UP]))
            for poses in (self.map_from_cam, truth)
        )
        return fit_sim3(source, target, scale_estimator="fixed")


def run(
    robot: PeopledRobot, seed: int, detect: Detected = "none",
    read: Callable[[SurfaceMap, object], object] | None = None,
) -> Drive:  # fmt: skip
    """The mapper, and mesh and grid once a second, read as `read_both` does; ``detect``: of `MasksConfig`."""
    loops = LoopsConfig(LoopDetectorConfig(mode="always"))
    surfaces = SurfacesConfig(max_keyframes=0)  # measured apart from the mapper
    config = MapperConfig(loops=loops, surfaces=surfaces, masks=MasksConfig(detect))
    mapper = Mapper(config, SimulatedPredictor(robot, EXACT, seed), Sensors(odometry=robot.camera_in_odom))
    drive = Drive(robot, SurfaceMap(SurfacesConfig(), is_metric=True))
    state: object = None
    next_ns = robot.stamps_ns[0] + SECOND_NS
    for frame in robot.frames():
        update = mapper.add(frame)
        if update is not None:
            drive.num_frames += len(update.frames)
            drive.kept_ms.append(timed(partial(drive.surfaces.integrate, update))[0])
        if frame.stamp_ns >= next_ns:
            next_ns += SECOND_NS
            elapsed_ms, state = timed(partial(read or read_both, drive.surfaces, state))
            drive.read_ms.append(elapsed_ms)
            drive.num_bytes.append(drive.surfaces.num_bytes)
    for update in mapper.finish():
        drive.num_frames += len(update.frames)
        drive.surfaces.integrate(update)
    while not drive.surfaces.follow():
        pass
    path = mapper.snapshot()
    drive.stamps_ns, drive.map_from_cam = path.stamps_ns, path.map_from_cam
    drive.closed_loops = mapper.status.values["loops_closed"]
    return drive


def read_both(surfaces: SurfaceMap, state: object) -> object:
    """Mesh and grid, as the node does with a subscriber of each; returns what `SurfaceMap.meshes` wants next time."""
    surfaces.follow()
    change = surfaces.meshes(state)
    with suppress(InputError):  # no floor has been seen yet
        surfaces.grid(BAND)
    return None if change is None else change.state


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds of this thread's own time, because other processes do not count, and the result."""
    start_s = time.thread_time()
    result = work()
    return 1e3 * (time.thread_time() - start_s), result


@dataclass(frozen=True)
class Score:
    """How mesh and grid of a drive compare with the truth."""

    mesh_m: tuple[float, float]  # median and 90 % quantile of the distance from the nearest true surface
    num_triangles: int
    known_right: float  # share of the known cells
    num_known: int
    traces: tuple[int, int]  # vertices and occupied cells where people went

    @classmethod
    def of(cls, drive: Drive) -> Score:
        change, grid = drive.surfaces.meshes(), drive.surfaces.grid(BAND)
        assert change is not None
        mesh, world_from_map = Mesh.joined(list(change.of_block.values())), drive.world_from_map
        boxes, people = drive.robot.building.boxes, drive.robot.people()
        vertices = world_from_map.apply(mesh.vertices.astype(np.float64))
        off = np.abs(distances(vertices, boxes))
        is_known, is_occupied = grid.cells != UNKNOWN, grid.cells == OCCUPIED
        is_right = is_occupied == grid_truth(grid, world_from_map, boxes)
        rows, columns = np.nonzero(is_occupied)
        middle = np.full(len(rows), grid.floor + BAND.highest / 2)
        x, y = (o + grid.resolution * (i + 0.5) for o, i in zip(grid.origin, (columns, rows), strict=True))
        cells = world_from_map.apply(np.stack([x, y, middle], axis=1))
        return cls(
            (float(np.median(off)), float(np.quantile(off, 0.9))), len(mesh.triangles),
            float(is_right[is_known].mean()), int(is_known.sum()),
            (traces(vertices, boxes, people), traces(cells, _tall(boxes), _tall(people))),
        )  # fmt: skip


def distances(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) of points (N, 3) from the nearest surface of boxes (B, 2, 3); below 0 inside of one."""
    found = np.full(len(points), np.inf)
    for low, high in boxes.astype(np.float64):
        outside = np.maximum(low - points, points - high)
        distance = np.linalg.norm(np.maximum(outside, 0), axis=1) + np.minimum(outside.max(axis=1), 0)
        found = np.minimum(found, distance)
    return found


def traces(points: np.ndarray, boxes: np.ndarray, people: np.ndarray) -> int:
    """How many points (N, 3) lie where people went, and on nothing else."""
    if not len(people):
        return 0
    is_apart = np.abs(distances(points, boxes)) > CLEAR_M
    return int((distances(points[is_apart], people) < BAND.lowest).sum())


def _tall(boxes: np.ndarray) -> np.ndarray:
    """Those boxes that are obstacles, over all heights, because cells have none."""
    tall = boxes[(boxes[:, 0, 2] < BAND.highest) & (boxes[:, 1, 2] > BAND.lowest)].copy()
    tall[:, 0, 2], tall[:, 1, 2] = -100.0, 100.0
    return tall


def grid_truth(grid: Grid, world_from_map: Sim3, boxes: np.ndarray) -> np.ndarray:
    """(rows, columns) bool: whether anything between the heights of `BAND` is in the cell."""
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    x, y = (
        origin + grid.resolution * (np.arange(count)[:, None] + steps).reshape(-1)
        for origin, count in zip(grid.origin, reversed(grid.cells.shape), strict=True)
    )
    points = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), grid.floor)], axis=-1).reshape(-1, 3)
    world = world_from_map.apply(points)[:, :2]
    inside = np.zeros(len(world), bool)
    for low, high in _tall(boxes):
        is_in = (world > low[:2]) & (world < high[:2])
        inside[is_in.all(axis=1)] = True
    rows, columns = grid.cells.shape
    return np.asarray(inside.reshape(rows, SAMPLES, columns, SAMPLES).any(axis=(1, 3)))


def judge(seed: int, length_m: float, is_led: bool, detect: Detected) -> str:
    """One row of the table."""
    drive = run(with_people(make_robot(seed, length_m), is_led), seed, detect)
    score = Score.of(drive)
    half = len(drive.read_ms) // 2
    early_ms, late_ms = (sum(part) / max(1, len(part)) for part in (drive.read_ms[:half], drive.read_ms[half:]))
    return (
        f"{seed:4d} {drive.robot.length_m:7.0f} {drive.num_frames:7d} {drive.closed_loops:>6s}"
        f" {100 * score.mesh_m[0]:7.1f} {100 * score.mesh_m[1]:6.1f} {score.num_triangles:10d}"
        f" {100 * score.known_right:7.1f} {score.num_known:7d} {score.traces[0]:6d} {score.traces[1]:5d}"
        f" {sum(drive.kept_ms) / drive.num_frames:6.2f} {drive.overhead_ms:10.1f} {early_ms:7.0f} {late_ms:6.0f}"
        f" {max(drive.num_bytes) / 1e6:6.0f}"
    )


HEADER = (
    "seed  path m  frames  loops mesh cm         triangles   cells   known     trace in   kept  per frame"
    "   once a second   most\n"
    "                             median   90 %             right %           mesh  grid     ms         ms"
    "   early   late     MB"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=float, default=60.0, help="metres")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", choices=("crossing", "ahead"), default="crossing")
    parser.add_argument("--detect", choices=get_args(Detected), default="none", help="masks.detect")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine(torch.device('cpu'))}; one thread, its own time\n{HEADER}")
    for seed in args.seeds:
        print(judge(seed, args.length, args.people == "ahead", args.detect), flush=True)


if __name__ == "__main__":
    main()
