"""How large a step of the visual odometry errs, per residual of its window's registration: its covariance.

    python benchmarks/odometry_covariance.py --folder rgbd_kitchen --intrinsics 585 585 320 240 --rate-hz 7.5
    python benchmarks/odometry_covariance.py --synthetic tabletop:3 corridor:1 room:0

The mapper sees every frame, unscaled; each step is brought to metres by the true steps around it, as a source of metres
would. What 68.3 % of the components keep is one standard deviation. Needs `pip install '.[training]'`.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from trajectories.sequences import Recording, from_folder, rendered

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.benchmark import machine
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import DvltError
from dvlt_ros.lens import Lens
from dvlt_ros.mapping.budget.config import BudgetConfig
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.refining import RefinementConfig
from dvlt_ros.mapping.keyframes.config import KeyframeConfig
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.visual_odometry import SHIFT_PER_RESIDUAL, TURN_PER_RESIDUAL, OdometryStep, VisualOdometry
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.model import Dvlt
from dvlt_ros.reconstruct_bag import frame_of
from dvlt_ros.refinement.adjusting.rotations import vector_from_rotation
from dvlt_ros.sources import SourceImage

AROUND = 10  # steps to each side that tell a step's scale
ONE_DEVIATION = 0.683


def steps_of(recording: Recording, predictor: DvltPredictor, args: argparse.Namespace) -> list[OdometryStep]:
    predictor.reset()
    height, width = recording.images[0].shape[:2]
    (fx, _, cx), (_, fy, cy) = recording.intrinsics[:2]
    lens = Lens(fx, fy, cx, cy, (height, width), source=recording.name)
    config = MapperConfig(
        model=ModelConfig(image_size=args.image_size, device="cpu"),
        budget=BudgetConfig(k_max=args.k_max),
        keyframes=KeyframeConfig(min_change=0.0),
        loops=LoopsConfig(detector=LoopDetectorConfig(mode="never")),
        refinement=RefinementConfig(mode=args.refinement),
    )
    mapper, odometry = Mapper(config, predictor, clock_ns=lambda: 0), VisualOdometry()
    pairs = zip(recording.stamps_ns.tolist(), recording.images, strict=True)
    updates = [mapper.add(frame_of(SourceImage(stamp, "camera", image, lens))) for stamp, image in pairs]
    windows = [update.window for update in [*updates, *mapper.finish()] if update is not None]
    return [step for window in windows if window is not None for step in odometry.follow(window, IDENTITY)]


def errors_of(recording: Recording, steps: list[OdometryStep]) -> tuple[np.ndarray, np.ndarray]:
    """Shift and turn of each step's error (N, 3) over the deviations that the odometry tells."""
    place = {stamp: index for index, stamp in enumerate(recording.stamps_ns.tolist())}
    found, true, told = [], [], []
    for before, step in pairwise(steps):
        if step.before_from_cam is None:
            continue
        first, second = (recording.world_from_cam[place[s.stamp_ns]] for s in (before, step))
        found.append(step.before_from_cam)
        true.append(inverse(first) @ second)
        told.append(np.sqrt(np.diag(step.step_covariance)[[0, 3]]))
    motions, truths, deviations = np.stack(found), np.stack(true), np.stack(told)
    lengths = np.linalg.norm(np.stack([motions[:, :3, 3], truths[:, :3, 3]]), axis=2)
    sums = np.stack([np.convolve(np.square(row), np.ones(2 * AROUND + 1), "same") for row in lengths])
    scale = np.sqrt(sums[1] / sums[0])
    shifts = (scale[:, None] * motions[:, :3, 3] - truths[:, :3, 3]) / (scale * deviations[:, 0])[:, None]
    turns = vector_from_rotation(np.swapaxes(truths[:, :3, :3], 1, 2) @ motions[:, :3, :3]) / deviations[:, 1:]
    return shifts, turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="posed RGB-D frames, in a layout that training reads")
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"))
    parser.add_argument("--rate-hz", type=float, default=7.5)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--synthetic", nargs="*", default=[], metavar="FAMILY:SEED")
    parser.add_argument("--refinement", choices=("off", "tracks"), default="off")
    parser.add_argument("--k-max", type=int, default=0, help="steps of the network (default: the checkpoint's own)")
    parser.add_argument("--image-size", type=int, default=0, help="longest edge (default: the checkpoint's own)")
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS))
    args = parser.parse_args()
    predictor = DvltPredictor(Dvlt.from_pretrained(args.weights), "cpu")
    recordings = []
    if args.folder is not None:
        recordings.append(from_folder(args.folder, args.intrinsics, args.rate_hz, args.frames))
    for name in args.synthetic:
        family, seed = name.split(":")
        recordings.append(rendered(family, int(seed), args.frames, args.rate_hz, (180, 240)))
    print(f"{machine(torch.device('cpu'))}; refinement {args.refinement}")
    print("recording        steps  deviations that 68 % keep: shift   turn;  SHIFT_PER_RESIDUAL  TURN_PER_RESIDUAL")
    rows = []
    for recording in recordings:
        shifts, turns = errors_of(recording, steps_of(recording, predictor, args))
        rows.append((shifts, turns))
        print(line(recording.name, shifts, turns), flush=True)
    print(line("all", *(np.concatenate(columns) for columns in zip(*rows, strict=True))))


def line(name: str, shifts: np.ndarray, turns: np.ndarray) -> str:
    shift, turn = (float(np.quantile(np.abs(errors), ONE_DEVIATION)) for errors in (shifts, turns))
    return (
        f"{name:<16}{len(shifts):>6}{shift:>34.2f}{turn:>7.2f}"
        f"{shift * SHIFT_PER_RESIDUAL:>21.2f}{turn * TURN_PER_RESIDUAL:>19.2f}"
    )


if __name__ == "__main__":
    try:
        main()
    except DvltError as error:
        raise SystemExit(f"odometry_covariance: {error}") from error
