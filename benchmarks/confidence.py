"""What is confidence worth? The error of twentieths of the pixels, and the share of them that is better left out.

    python benchmarks/confidence.py --real rgbd_kitchen --intrinsics 585 585 320 240 --plot curves.png

The share is chosen on scenes that the network has not seen: the frozen synthetic benchmark and the rooms of another
renderer (`box_rooms.py`). Real frames are shown beside them and never choose. Write it into the checkpoint's
config.json as ``confidence_cut_share``: node, offline tool and page then use it.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

import torch
from box_rooms import box_room_windows

from dvlt_ros.benchmark import machine
from dvlt_ros.model import Dvlt
from dvlt_ros.training.data.readers.layouts import open_dataset
from dvlt_ros.training.evaluation.calibration import plot_curves, share_that_pays, window_curves
from dvlt_ros.training.evaluation.windows import recording_windows
from dvlt_ros.training.synthetic import load_benchmark

VIEWS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description="What a checkpoint's confidence is worth.")
    parser.add_argument("--weights", default="embedded", help="checkpoint (default: the embedded one)")
    parser.add_argument("--steps", type=int, help="K (default: the checkpoint's)")
    parser.add_argument("--windows", type=int, default=40, help="of each kind of scenes (default: 40)")
    parser.add_argument("--real", type=Path, help="posed RGB-D folder to show beside them")
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="of --real")
    parser.add_argument("--plot", type=Path, help="write the curves to this PNG")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = Dvlt.from_pretrained(args.weights)
    steps = args.steps or network.config.num_steps
    scenes = {
        "synthetic benchmark": list(load_benchmark().batches(batch=1, device=torch.device("cpu"), count=args.windows)),
        "other renderer": box_room_windows(args.windows, VIEWS),
    }
    shown = dict(scenes)
    if args.real is not None:
        options = {} if args.intrinsics is None else {"intrinsics": args.intrinsics}
        sequences = open_dataset(args.real, **options)
        shown[args.real.name] = list(
            chain.from_iterable(recording_windows(s, network.config.image_size, VIEWS) for s in sequences)
        )
    print(f"{args.weights}, K = {steps}; {machine(torch.device('cpu'))}")
    curves = {}
    for name, windows in shown.items():
        curves[name] = window_curves(lambda images, k: network(images, num_steps=k), windows, steps)
        bins = torch.stack([curve.bin_error for curve in curves[name]]).mean(dim=0)
        kept = torch.stack([curve.by_confidence for curve in curves[name]]).mean(dim=0)
        print(f"{name}, {len(curves[name])} windows")
        print("  error of each twentieth, the least confident first:", *(f"{value:.3f}" for value in bins))
        print("  error of what is left without 0, 5, 10, … %:       ", *(f"{value:.3f}" for value in kept), flush=True)
    print(f"share to leave out: {share_that_pays({name: curves[name] for name in scenes}):.2f}")
    if args.plot is not None:
        print(plot_curves(args.plot, curves, f"{args.weights}, K = {steps}"))


if __name__ == "__main__":
    main()
