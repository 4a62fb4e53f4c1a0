"""Joint windows of a loop: how exactly two submaps are joined, by the network alone and with refinement.

    python benchmarks/joint_windows.py --folder rgbd_kitchen --intrinsics 585 585 320 240

A mapper with the node's defaults maps the frames and keeps its submaps. Every two submaps without a common frame whose
last cameras truly see the same go through a joint window, as the loop detector makes them, and its verification.

verified  pairs that pass, of those that were tried
turn      error of the second submap's last camera relative to the first one's, degrees: median and 90th percentile
shift     the same for its position, in percent of the first submap's median depth
The error of the map's own path is in both.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from trajectories.sequences import Recording, add_arguments, recordings

from dvlt_ros.alignment import fit_sim3
from dvlt_ros.benchmark import machine, parse_count
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import DvltError
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor, choose_device
from dvlt_ros.mapping.inference.refining import RefiningPredictor
from dvlt_ros.mapping.loops.config import LoopVerificationConfig
from dvlt_ros.mapping.loops.verification import UnverifiedLoop, verify
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.submaps.submap import StoredSubmap, thinned
from dvlt_ros.model import Dvlt

OVERLAP = 0.3  # of the second submap's last image that the first one's truly shows, at least
TOLERANCE = 0.05  # relative difference of true depths that are one surface
STRIDE = 8  # pixels of the true depth that are compared


@dataclass
class Outcome:
    """Of one sequence and one way."""

    milliseconds: list[float] = field(default_factory=list)
    errors: list[tuple[float, float]] = field(default_factory=list)  # of those that were verified: degrees, percent


def mapped(recording: Recording, predictor: DvltPredictor) -> tuple[list[StoredSubmap], float]:
    """The submaps of a recording in the order of their making, and metres per unit of their map."""
    predictor.reset()
    mapper = Mapper(MapperConfig(), predictor, clock_ns=lambda: 0)
    updates = [mapper.add(frame) for frame in recording.frames()]
    frames = [frame for update in [*updates, *mapper.finish()] if update is not None for frame in update.frames]
    truth = dict(zip(recording.stamps_ns.tolist(), recording.world_from_cam, strict=True))
    found = torch.from_numpy(np.stack([frame.map_from_cam[:3, 3] for frame in frames]))
    true = torch.from_numpy(np.stack([truth[frame.stamp_ns][:3, 3] for frame in frames]))
    assert mapper.loops is not None
    stored = mapper.loops.stored_submaps()
    return [stored[number] for number in sorted(stored)], float(fit_sim3(found, true).scale)


def shares(recording: Recording, first: int, second: int) -> bool:
    """Whether the first of two images truly shows enough of the second."""
    depth = recording.depths[second][::STRIDE, ::STRIDE]
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]] * STRIDE + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(recording.intrinsics).T
    points = (depth[..., None] * rays)[depth > 0]
    first_from_second = inverse(recording.world_from_cam[first]) @ recording.world_from_cam[second]
    points = points @ first_from_second[:3, :3].T + first_from_second[:3, 3]
    points = points[points[:, 2] > 0]
    columns, rows = np.floor((points @ recording.intrinsics.T)[:, :2] / points[:, 2:]).astype(int).T
    height, width = recording.depths[first].shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    seen = recording.depths[first][rows[inside], columns[inside]]
    return int((np.abs(seen / points[inside, 2] - 1) < TOLERANCE).sum()) > OVERLAP * depth.size


def compared(
    recording: Recording, predictor: DvltPredictor, num_steps: int, most: int, limits: LoopVerificationConfig
) -> tuple[int, dict[str, Outcome]]:
    """How many pairs were tried, and the outcome of each way."""
    submaps, metres = mapped(recording, predictor)
    index_of = {stamp_ns: index for index, stamp_ns in enumerate(recording.stamps_ns.tolist())}
    frames = [[index_of[view.anchor.view.frame.stamp_ns] for view in submap.views] for submap in submaps]
    pairs = [
        (i, j)
        for j in range(len(submaps))
        for i in range(j)
        if frames[i][-1] < frames[j][0] and shares(recording, frames[i][-1], frames[j][-1])
    ]
    pairs = [pairs[index] for index in np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))]
    ways: dict[str, DvltPredictor | RefiningPredictor] = {
        "network": predictor, "refined": RefiningPredictor(predictor, math.inf)
    }  # fmt: skip
    outcomes = {name: Outcome() for name in ways}
    for i, j in pairs:
        older, newer = submaps[i], submaps[j]
        views = [stored.view() for stored in (*older.views, *newer.views)]
        for name, recognizer in ways.items():
            start_s = time.perf_counter()
            prediction = recognizer.predict_apart(views, num_steps, newer.image_size)
            outcomes[name].milliseconds.append(1e3 * (time.perf_counter() - start_s))
            loop = verify(thinned(prediction), older.submap_views, newer.submap_views, limits)
            if isinstance(loop, UnverifiedLoop):
                continue
            moved = loop.first_from_second.apply_to_poses(newer.views[-1].anchor.map_from_cam)
            found = inverse(older.views[-1].anchor.map_from_cam) @ moved
            true = inverse(recording.world_from_cam[frames[i][-1]]) @ recording.world_from_cam[frames[j][-1]]
            turn = float(rotation_angle(torch.from_numpy(found[:3, :3].T @ true[:3, :3])))
            depth = np.median(recording.depths[frames[i][-1]][recording.depths[frames[i][-1]] > 0])
            shift = float(np.linalg.norm(metres * found[:3, 3] - true[:3, 3]) / depth)
            outcomes[name].errors.append((math.degrees(turn), 100 * shift))
    return len(pairs), outcomes


def rows(recording: Recording, tried: int, outcomes: dict[str, Outcome]) -> list[str]:
    lines = []
    for name, outcome in outcomes.items():
        line = f"{recording.name:16} {name:8} {len(outcome.errors):5}/{tried:<5}"
        if outcome.errors:
            errors = np.array(outcome.errors)
            (turn, shift), (most_turn, most_shift) = np.median(errors, axis=0), np.quantile(errors, 0.9, axis=0)
            line += f" {turn:6.2f} {most_turn:6.2f} {shift:7.1f} {most_shift:7.1f}"
        milliseconds = np.median(outcome.milliseconds) if outcome.milliseconds else math.nan
        lines.append(f"{line} {milliseconds:8.0f}")
    return lines


def main(argv: Sequence[str] | None = None) -> list[tuple[int, dict[str, Outcome]]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, frames=150, size=(480, 640), rate_hz=7.5)
    parser.add_argument("--pairs", type=parse_count, default=60, help="of each, at most")
    parser.add_argument("--steps", type=int, default=0, help="K of joint windows (default: the checkpoint's most)")
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS))
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--max-residual", type=float, default=LoopVerificationConfig().max_residual, help="loops.max_residual"
    )
    args = parser.parse_args(argv)
    limits = LoopVerificationConfig(max_residual=args.max_residual)
    predictor = DvltPredictor(Dvlt.from_pretrained(args.weights), choose_device(args.device))
    print(machine(predictor.device))
    print(f"{'sequence':16} {'way':8} {'verified':>11} {'turn':>6} {'90 %':>6} {'shift %':>7} {'90 %':>7} {'ms':>8}")
    found = []
    for recording in recordings(args):
        found.append(compared(recording, predictor, args.steps or predictor.max_steps, args.pairs, limits))
        print("\n".join(rows(recording, *found[-1])), flush=True)
    return found


if __name__ == "__main__":
    try:
        main()
    except DvltError as error:
        raise SystemExit(f"joint_windows: {error}") from error
