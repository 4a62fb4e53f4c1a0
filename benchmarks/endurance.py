"""Time per window and memory over a day's number of windows.

    python benchmarks/endurance.py --windows 100000
    python benchmarks/endurance.py --windows 100000 --no-loops

A robot drives laps in a room, with odometry. The network is a stub that knows every view, so the times are those of
admission, registration, scale, loop closure, pose graph and the growing map. One window per frame. Times are processor
times, so that other load on the machine does not count; memory is resident; each row is one part of the drive.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from simulation.building import INTRINSICS, SIZE, Building, make_building
from simulation.network import PredictionNoise, SimulatedPredictor
from simulation.robot import SimulatedRobot, mount, planar_pose

from dvlt_ros.benchmark import machine
from dvlt_ros.mapping.budget.config import WindowConfig
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors

LAP = 60  # frames
RADIUS_M = 0.9
FRAME_NS = 500_000_000
ROOM = 7  # a place of the building that is the middle of a room
DRIFT_RAD = 2e-4  # of the odometry's heading, per frame
ROWS = 40
CONFIG = MapperConfig(window=WindowConfig(size=3, overlap=2), map=MapConfig(max_points=100_000))  # the map is full soon
LOOPS = LoopsConfig(LoopDetectorConfig(rest=30))  # one in two laps; each solves the whole graph


@dataclass(frozen=True)
class Row:
    """One part of the drive."""

    windows: int  # so far
    median_ms: float
    worst_ms: float
    memory_mb: float
    submaps: int  # in the graph
    places: int
    points: int  # of the map
    loops: int  # closed so far


class Circuit:
    """Endless frames from the poses of one lap; the odometry drifts."""

    def __init__(self, building: Building) -> None:
        (x, y), base_from_cam = building.places[ROOM], mount()
        angles = (np.arange(LAP) * 2 * math.pi / LAP).tolist()
        bases = [planar_pose(x + RADIUS_M * math.cos(a), y + RADIUS_M * math.sin(a), a + math.pi / 2) for a in angles]
        self.world_from_cam = [base @ base_from_cam for base in bases]
        self._pictures = [
            Picture(np.random.default_rng(i).integers(0, 255, (*SIZE, 3), dtype=np.uint8), INTRINSICS)
            for i in range(LAP)
        ]

    def frame(self, number: int) -> Frame:
        picture = self._pictures[number % LAP]
        return Frame((number + 1) * FRAME_NS, "front", (number + 1) * FRAME_NS, lambda: picture)

    def camera(self, stamp_ns: int, _: str) -> CameraInOdom:
        number = stamp_ns // FRAME_NS - 1
        return CameraInOdom(planar_pose(0, 0, DRIFT_RAD * number) @ self.world_from_cam[number % LAP], 0)


class Truth(dict[tuple[str, int], np.ndarray]):
    """world_from_cam by camera and stamp, for any stamp."""

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self._circuit = circuit

    def __missing__(self, key: tuple[str, int]) -> np.ndarray:
        return self._circuit.world_from_cam[(key[1] // FRAME_NS - 1) % LAP]


class StubPredictor(SimulatedPredictor):
    """Renders each pose of the lap once."""

    def _depth(self, key: tuple[str, int]) -> np.ndarray:
        return super()._depth((key[0], (key[1] // FRAME_NS - 1) % LAP * FRAME_NS + FRAME_NS))


def drive(num_windows: int, has_loops: bool, report: Callable[[Row], None]) -> None:
    """``report`` gets a row for each part."""
    building = make_building(np.random.default_rng(0))
    circuit = Circuit(building)
    nothing = np.empty((0, 4, 4))
    robot = SimulatedRobot(building, {}, np.empty(0), nothing, nothing, np.empty(0), nothing)
    robot.__dict__["truth"] = Truth(circuit)
    predictor = StubPredictor(robot, PredictionNoise(bend_deg=0.1))
    config = replace(CONFIG, loops=LOOPS if has_loops else LoopsConfig(LoopDetectorConfig(mode="never")))
    mapper = Mapper(config, predictor, Sensors(odometry=circuit.camera))
    took_ms: list[float] = []
    for number in range(num_windows + 1):
        start = time.process_time()
        mapper.admit(circuit.frame(number))  # one window per frame, as with a slow camera
        if (update := mapper.step()) is None:
            continue
        mapper.integrate(update)
        mapper.close_loop()
        took_ms.append(1e3 * (time.process_time() - start))
        if len(took_ms) >= num_windows / ROWS:
            values, graph = mapper.status.values, mapper.loops.graph
            report(
                Row(
                    windows=number,
                    median_ms=float(np.median(took_ms)),
                    worst_ms=max(took_ms),
                    memory_mb=memory_mb(),
                    submaps=0 if graph is None else len(graph),
                    places=int(values.get("places", 0)),
                    points=len(mapper.snapshot().cloud.points),
                    loops=int(values.get("loops_closed", 0)),
                )
            )
            took_ms.clear()


def memory_mb() -> float:
    """Resident memory of this process in MiB; Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--no-loops", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(torch.device("cpu")))
    print("windows  median ms  worst ms  memory MiB  submaps  places  map points  loops closed")

    def report(row: Row) -> None:
        print(
            f"{row.windows:7d}  {row.median_ms:9.2f}  {row.worst_ms:8.0f}  {row.memory_mb:10.0f}  {row.submaps:8d}"
            f"  {row.places:6d}  {row.points:10d}  {row.loops:12d}",
            flush=True,
        )

    drive(args.windows, not args.no_loops, report)


if __name__ == "__main__":
    main()
