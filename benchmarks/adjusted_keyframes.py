"""What keyframes that are adjusted together cost, from the first window to the last.

    python benchmarks/adjusted_keyframes.py
    python benchmarks/adjusted_keyframes.py --windows 20000 --json keyframes.json

A camera goes back and forth along a wall, and each window is a submap with a keyframe; every fourth is a place, and all
but the latest places are forgotten again. Times are the processor's, of the pose graph and all that it does; a window
in which keyframes are adjusted takes longest. Memory is the most that was resident. Needs GTSAM, no ROS.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from simulation.keyframes import FRAMES, drifted, scene

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.benchmark import machine, parse_count, parse_output
from dvlt_ros.mapping.loop_closer import ADJUST_EVERY, LEAST_MOVE
from dvlt_ros.mapping.pose_graph.submap_graph import SubmapGraph
from dvlt_ros.mapping.submaps.submap import Submap
from dvlt_ros.refinement import Keyframe

PLACE_EVERY, PLACES = 4, 200
STEP_NS = 500_000_000
DEPTH = 3.5  # median, of the wall's points
ROWS = 8


@dataclass(frozen=True)
class Row:
    """One part of the way."""

    windows: int  # so far
    mean_ms: float
    worst_ms: float
    submaps: int  # in the graph
    corrections: int  # so far
    memory_mb: float


def submap_of(number: int, pose: np.ndarray, keyframe: Keyframe) -> Submap:
    is_place = number % PLACE_EVERY == 0
    forgotten = (number - PLACE_EVERY * PLACES,) if is_place and number >= PLACE_EVERY * PLACES else ()
    return Submap(
        number, 0, (1 + number) * STEP_NS, "cam", pose, DEPTH, min(number, 1), forgotten, is_place=is_place,
        keyframe=keyframe,
    )  # fmt: skip


def measured(num_windows: int) -> list[Row]:
    truth, keyframes = scene(np.random.default_rng(0))
    poses, units = drifted(truth)
    seen = [Keyframe(k.tracks, k.seen, u * k.depth, k.deviation) for k, u in zip(keyframes, units, strict=True)]
    there_and_back = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]
    graph, rows, spent_ms, corrections = SubmapGraph(is_metric=False), [], [], 0
    for number in range(num_windows):
        index = there_and_back[number % len(there_and_back)]
        start_s = time.process_time()
        graph.add(submap_of(number, poses[index], seen[index]), IDENTITY, 0, None)
        if graph.num_unadjusted >= ADJUST_EVERY:
            corrections += graph.adjust(LEAST_MOVE) is not None
        spent_ms.append(1e3 * (time.process_time() - start_s))
        if len(spent_ms) == max(1, num_windows // ROWS):
            memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            mean_ms = statistics.mean(spent_ms)
            rows.append(Row(number + 1, mean_ms, max(spent_ms), len(graph), corrections, memory_mb))
            spent_ms = []
    return rows


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=parse_count, default=4000)
    parser.add_argument("--json", type=parse_output)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(machine(torch.device("cpu")))
    rows = measured(args.windows)
    for row in rows:
        print(
            f"{row.windows:6d} windows: {row.mean_ms:5.1f} ms on average, {row.worst_ms:5.1f} at worst, "
            f"{row.submaps} submaps, {row.corrections} corrections, {row.memory_mb:.0f} MB"
        )
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return rows


if __name__ == "__main__":
    main()
