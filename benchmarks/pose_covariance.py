"""How much larger the errors of refined windows are than the covariances of their bundle adjustments.

    python benchmarks/pose_covariance.py --data rgbd_kitchen --intrinsics 585 585 320 240
    python benchmarks/pose_covariance.py --synthetic room:20 warehouse:21 tabletop:22 corridor:23

Recordings as streams, windows of eight that share three. In each window, the motion from the last shared frame to the
newest one, its length after the one scale that fits the window's positions. What 68.3 % of the components keep is one
standard deviation. Needs `pip install '.[training]'`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from refinement import STREAM_SHARED, Sample, predicted, stream_windows
from trajectories.sequences import from_folder, rendered

from dvlt_ros.benchmark import machine
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import DvltError
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.model import Dvlt
from dvlt_ros.refinement import Refined, WindowFrame, WindowRefiner
from dvlt_ros.refinement.adjusting.covariance import SHIFT_FACTOR, TURN_FACTOR
from dvlt_ros.refinement.adjusting.rotations import inverse, vector_from_rotation

ONE_DEVIATION = 0.683


def ratios(sample: Sample, refined: Refined, median_depth: float) -> np.ndarray | None:
    """(2, 3) errors of turn and shift over what the covariance alone tells; None: the window is not refined."""
    if refined.motion is None:
        return None
    first, last = STREAM_SHARED - 1, len(sample.numbers) - 1
    found, true = refined.window_from_cam, sample.recording.world_from_cam
    scale = np.sqrt(true[:, :3, 3].var(axis=0).sum() / found[:, :3, 3].var(axis=0).sum())
    motion, truth = (inverse(poses[first]) @ poses[last] for poses in (found, true))
    turn = vector_from_rotation(motion[:3, :3].T @ truth[:3, :3]) / (refined.motion.turn / TURN_FACTOR)
    shift = scale * motion[:3, 3] - truth[:3, 3]
    return np.stack([turn, shift / median_depth / (refined.motion.shift / SHIFT_FACTOR)])


def line(name: str, found: Sequence[np.ndarray]) -> str:
    turn, shift = np.quantile(np.abs(np.stack(found)), ONE_DEVIATION, axis=(0, 2))
    return f"{name:<16}{len(found):>8}{turn:>13.1f}{shift:>14.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="posed RGB-D frames, in a layout that training reads")
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="of the data")
    parser.add_argument("--synthetic", nargs="*", default=[], metavar="FAMILY:SEED")
    parser.add_argument("--frames", type=int, default=60, help="of each rendered sequence (default: 60)")
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    predictor = DvltPredictor(Dvlt.from_pretrained(args.weights), "cpu")
    recordings = [] if args.data is None else [from_folder(args.data, args.intrinsics, 7.5, None)]
    named = [name.split(":") for name in args.synthetic]
    recordings += [rendered(family, int(seed), args.frames, 7.5, (180, 240)) for family, seed in named]
    print(machine(predictor.device))
    print("recording        windows  turn factor  shift factor")
    everything: list[np.ndarray] = []
    for recording in recordings:
        refiner, found = WindowRefiner(), []
        for sample in stream_windows(recording):
            answer, true_depth = predicted(predictor, sample)
            parts = zip(sample.numbers, sample.recording.images, sample.intrinsics, strict=True)
            refined = refiner.refine([WindowFrame(*part) for part in parts], answer, matching_ms=0)
            found.append(ratios(sample, refined, float(np.median(true_depth[true_depth > 0]))))
        told = [errors for errors in found if errors is not None]
        everything += told
        print(line(recording.name, told), flush=True)
    print(line("all", everything))


if __name__ == "__main__":
    try:
        main()
    except DvltError as error:
        raise SystemExit(f"pose_covariance: {error}") from error
