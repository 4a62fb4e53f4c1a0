r"""What it saves and costs to end the loop with the first settled update (`model.settled_update`).

    python benchmarks/settling.py --settled 0.16
    python benchmarks/settling.py --probes probes/probes.safetensors --data kitchen --frames 75 \
        --intrinsics 585 585 320 240

The same windows with all K steps, stopped by the threshold, and with a full pass of the number of steps that stopping
took on average. Times are those of the loop and the decoders; medians, because other work shares the machine.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from dvlt_ros.benchmark import machine
from dvlt_ros.model import Dvlt, State
from dvlt_ros.model.weights import digest_of
from dvlt_ros.training.data.readers.layouts import open_dataset
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.contrasts import mean_interval
from dvlt_ros.training.evaluation.windows import recording_windows, window_metrics
from dvlt_ros.training.probes.probe import load_probes
from dvlt_ros.training.synthetic import load_benchmark

FIGURES = ("abs_rel", "rel_l2", "auc@30")
Pass = Callable[[State], tuple[State, int]]


@dataclass(frozen=True)
class Outcome:
    """Of one way to run the loop, window by window."""

    windows: list[dict[str, float]]
    steps: list[int]
    milliseconds: list[float]

    def line(self, name: str) -> str:
        figures = "  ".join(f"{np.nanmean([w.get(f, math.nan) for w in self.windows]):8.4f}" for f in FIGURES)
        return f"{name:<24} {mean(self.steps):5.2f} {median(self.milliseconds):8.1f}  {figures}"


def outcome(network: Dvlt, windows: list[Views], run: Pass) -> Outcome:
    found = Outcome([], [], [])
    for views in windows:
        with torch.inference_mode():
            begun = network.begin(network.encode(views.images))
            start = time.perf_counter()
            state, steps = run(begun)
            prediction = network.decode(state)
            found.milliseconds.append(1e3 * (time.perf_counter() - start))
        found.steps.append(steps)
        found.windows.extend(window_metrics(prediction, views))
    return found


def compare(network: Dvlt, windows: list[Views], settled: float) -> list[str]:
    """One line per way, then the differences to all K steps with 95 % intervals over windows."""
    most = network.config.num_steps
    everything = outcome(network, windows, lambda begun: (network.run(begun, most), most))
    stopped = outcome(network, windows, lambda begun: network.run_until_settled(begun, most, settled))
    few = max(1, round(mean(stopped.steps)))
    short = outcome(network, windows, lambda begun: (network.run(begun, few), few))
    ways = {f"all {most} steps": everything, f"settled at {settled:.4f}": stopped, f"full pass of {few}": short}
    lines = [f"{'loop':<24} {'steps':>5} {'ms':>8}  " + "  ".join(f"{name:>8}" for name in FIGURES)]
    lines += [way.line(name) for name, way in ways.items()]
    for name, way in list(ways.items())[1:]:
        for figure in FIGURES:
            pairs = zip(way.windows, everything.windows, strict=True)
            change = np.array([a.get(figure, math.nan) - b.get(figure, math.nan) for a, b in pairs])
            lines.append(f"{name} against all steps: {figure} {mean_interval(change[np.isfinite(change)])}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="embedded")
    threshold = parser.add_mutually_exclusive_group(required=True)
    threshold.add_argument("--settled", type=float, help="the threshold")
    threshold.add_argument("--probes", type=Path, help="probes that have learnt it")
    parser.add_argument("--data", type=Path, help="posed RGB-D folder; the frozen benchmark by default")
    parser.add_argument(
        "--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="where --data has none"
    )
    parser.add_argument("--frames", type=int, default=0, help="first frame of --data")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument(
        "--skip", type=int, default=24, help="windows of the frozen benchmark left out; dvlt_probe learns from 24"
    )
    args = parser.parse_args()
    network = Dvlt.from_pretrained(args.checkpoint)
    settled = args.settled
    if args.probes is not None:
        settled = load_probes(args.probes, digest_of(args.checkpoint))[1].settled_update
        if settled is None:
            raise SystemExit(f"{args.probes}: no update of this checkpoint is small enough to stop at")
    if args.data is None:
        windows = list(load_benchmark().batches(batch=1, count=args.skip + args.windows))[args.skip :]
    else:
        options = {} if args.intrinsics is None else {"intrinsics": args.intrinsics}
        sequences = open_dataset(args.data, "auto", frames=(args.frames, None), **options)
        found = chain.from_iterable(recording_windows(s, network.config.image_size, 6) for s in sequences)
        windows = list(islice(found, args.windows))
    print(f"{machine(torch.device('cpu'))}; {len(windows)} windows of {windows[0].images.shape[1]} views")
    print(*compare(network, windows, settled), sep="\n")


if __name__ == "__main__":
    main()
