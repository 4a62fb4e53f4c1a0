"""Checkpoints beside each other: depth, poses, points, time and memory on synthetic scenes or recordings.

dvlt_evaluate embedded --steps 4 8
dvlt_evaluate outputs/mine/best --data recordings/kitchen --frames 75 --pictures grid.png
dvlt_evaluate outputs/mine/best --gate embedded    # exit status 1 where it is worse
dvlt_evaluate outputs/mine/best da3-base vggt=WEIGHTS --data kitchen    # how-to/other-models.md
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from dvlt_ros import programs
from dvlt_ros.benchmark import machine, peak_memory_mib, reset_peak_memory
from dvlt_ros.errors import ConfigError, DvltError

from .data.readers.layouts import open_dataset
from .data.types import Views
from .evaluation.calibration import plot_curves, window_curves
from .evaluation.candidates import Candidate, require_device
from .evaluation.contrasts import mean_interval, one_view_errors, one_view_line, steps_line
from .evaluation.pictures import picture_grid
from .evaluation.recorded import record_windows
from .evaluation.windows import means, recording_windows, window_metrics
from .synthetic import load_benchmark

COLUMNS = ("abs_rel", "delta1", "rel_l2", "inlier_ratio", "auc@3", "auc@30")  # what the gate compares
MOTION = {"rotation_error_deg": "rotation °", "translation_error_deg": "direction °"}  # of relative poses; printed, too
SMALLER_IS_BETTER = ("abs_rel", "rel_l2")
Verdict = Literal["better", "worse", "no clear difference"]


@dataclass(frozen=True)
class Result:
    """One checkpoint at one K, window by window."""

    checkpoint: str
    steps: int
    windows: list[dict[str, float]]
    milliseconds: float  # median per window, the cameras included
    peak_mib: float | None

    def row(self) -> dict[str, object]:
        figures = {"windows": len(self.windows), "ms": self.milliseconds, "peak_mib": self.peak_mib}
        return {"checkpoint": self.checkpoint, "K": self.steps} | means(self.windows) | figures


def evaluate(candidate: Candidate, windows: Sequence[Views], steps: int, device: torch.device, bf16: bool) -> Result:
    run = candidate.load(device)
    reset_peak_memory(device)
    found, times = [], []
    for views in tqdm(windows, desc=f"{candidate.label} K={steps}", unit="window"):
        views = views.to(device)
        start = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            prediction = run(views.images, steps)
            found += window_metrics(prediction, views)  # reads the result, so the clock stops after the device
        times.append(1e3 * (time.perf_counter() - start))
    return Result(candidate.label, steps, found, float(np.median(times)), peak_memory_mib(device))


def table(results: Sequence[Result]) -> str:
    heads = (*COLUMNS, *MOTION.values(), "ms", "peak MiB")
    lines = [f"{'checkpoint':<32} {'K':>3}  " + "  ".join(f"{name:>12}" for name in heads)]
    for result in results:
        row = result.row()
        cells = [f"{row.get(name, math.nan):12.4f}" for name in (*COLUMNS, *MOTION)]
        peak = "unknown" if result.peak_mib is None else f"{result.peak_mib:.0f}"
        cells += [f"{result.milliseconds:12.1f}", f"{peak:>12}"]
        lines.append(f"{result.checkpoint[-32:]:<32} {result.steps:>3}  " + "  ".join(cells))
    return "\n".join(lines)


@dataclass(frozen=True)
class Comparison:
    """Paired difference of one metric, new minus old, with its 95 % bootstrap interval over windows."""

    metric: str
    old: float  # mean of the baseline
    difference: float
    low: float
    high: float
    margin: float  # relative to the baseline; less than that is no difference

    @property
    def verdict(self) -> Verdict:
        """Better or worse where the whole interval lies on that side, further away than the margin."""
        margin = self.margin * max(abs(self.old), 0.1)  # near 0 a relative margin would let nothing pass
        if self.low > margin:
            return "worse" if self.metric in SMALLER_IS_BETTER else "better"
        if self.high < -margin:
            return "better" if self.metric in SMALLER_IS_BETTER else "worse"
        return "no clear difference"

    def __str__(self) -> str:
        interval = f"{self.difference:+.4f}  [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.metric:>14}  {self.old:.4f}  {interval}  {self.verdict}"


def compare(new: Result, old: Result, margin: float) -> list[Comparison]:
    """Both on the same windows, in the same order; a window without a figure in either is left out."""
    comparisons = []
    for metric in COLUMNS:
        before, after = (np.array([window.get(metric, math.nan) for window in r.windows]) for r in (old, new))
        known = np.isfinite(before) & np.isfinite(after)
        if not known.any():
            continue
        change = mean_interval((after - before)[known])
        comparisons.append(
            Comparison(metric, float(before[known].mean()), change.value, change.low, change.high, margin)
        )
    return comparisons


def gate_line(comparisons: Sequence[Comparison], checkpoint: str, baseline: str) -> str:
    """What the gate found, in a sentence."""
    better, worse = (
        [comparison.metric for comparison in comparisons if comparison.verdict == verdict]
        for verdict in ("better", "worse")
    )
    outcome = f"worse in {', '.join(worse)}" if worse else "worse in nothing"
    return f"gate: {checkpoint} against {baseline}: better in {', '.join(better) or 'nothing'}, {outcome}"


def contrasts(
    candidate: Candidate, found: Sequence[Result], windows: Sequence[Views], args: argparse.Namespace
) -> list[str]:
    """Most steps against fewest, and one view against all of a window, where there is a choice of either."""
    few, many = min(found, key=lambda r: r.steps), max(found, key=lambda r: r.steps)
    lines = []
    if few.steps != many.steps:
        for metric in ("abs_rel", "auc@30"):
            pairs = [(r.steps, [window.get(metric, math.nan) for window in r.windows]) for r in (few, many)]
            lines.append(steps_line(candidate.label, pairs[0], pairs[1], metric))
    views = windows[0].images.shape[1]
    if views > 1 and not args.skip_one_view:
        device = require_device(args.device)
        alone = one_view_errors(candidate.load(device), windows, many.steps, device, args.bf16)
        together = [window.get("abs_rel", math.nan) for window in many.windows]
        lines.append(one_view_line(candidate.label, many.steps, alone, together, views))
    return lines


def frame_range(given: Sequence[int]) -> tuple[int, int | None]:
    """(first, behind the last). Raises ConfigError: more than two numbers, or a negative one."""
    if len(given) > 2 or min(given) < 0:
        raise ConfigError(f"--frames takes the first frame and the one behind the last, got {given}")
    return given[0], given[1] if len(given) == 2 else None


def load_windows(args: argparse.Namespace, image_size: int, patch_size: int, device: torch.device) -> list[Views]:
    count = args.windows
    if args.data is None:
        benchmark = load_benchmark()
        count = count or len(benchmark.seeds)
        windows = benchmark.batches(batch=1, device=device, count=count)
    else:
        options = {} if args.intrinsics is None else {"intrinsics": args.intrinsics}
        sequences = open_dataset(args.data, args.layout, frames=frame_range(args.frames), **options)
        windows = chain.from_iterable(
            recording_windows(s, image_size, args.views, args.stride, patch_size) for s in sequences
        )
    doing = "rendering the benchmark" if args.data is None else f"reading {args.data.name}"
    return list(tqdm(islice(windows, args.windows), desc=doing, total=count, unit="window"))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dvlt_evaluate", description="Evaluate checkpoints on windows with ground truth."
    )
    parser.add_argument(
        "checkpoints", nargs="+", help="embedded, directory, .safetensors file or Hugging Face id; or MODEL[=WEIGHTS]"
    )
    parser.add_argument("--data", type=Path, help="posed RGB-D folder; the frozen synthetic benchmark by default")
    parser.add_argument("--layout", default="auto", help="layout of --data")
    parser.add_argument(
        "--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="where --data has none"
    )
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[0],
        metavar=("FIRST", "BEHIND_LAST"),
        help="of every sequence of --data: `75` from frame 75 to the end, `0 75` the first 75",
    )
    parser.add_argument("--stride", type=int, default=1, help="frames of --data between the views of a window")
    parser.add_argument(
        "--steps", type=int, nargs="+", metavar="K", help="of Déjà View; the checkpoint's own K by default"
    )
    parser.add_argument("--views", type=int, default=6, help="views per window of --data")
    parser.add_argument("--windows", type=int, help="use only the first so many windows")
    parser.add_argument("--skip-one-view", action="store_true", help="do not compare one view with all of a window")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="run the network under bfloat16 autocast")
    parser.add_argument("--json", type=Path, help="write every figure of every window to this file")
    parser.add_argument("--pictures", type=Path, help="write a PNG grid of images, true and predicted depth, error")
    parser.add_argument("--sparsification", type=Path, help="write a PNG: does confidence know where depth is wrong?")
    parser.add_argument("--rrd", type=Path, help="write windows beside their truth for Rerun (extra: rerun)")
    parser.add_argument(
        "--gate", metavar="BASELINE", help="say where it is better or worse than this one; fail if worse"
    )
    parser.add_argument("--margin", type=float, default=0.01, help="relative difference that the gate lets pass")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    try:
        failed = run(parse_arguments(argv))
    except DvltError as error:
        raise SystemExit(f"dvlt_evaluate: {error}") from error
    raise SystemExit(1 if failed else 0)


def run(args: argparse.Namespace) -> bool:
    """Whether the gate was asked for and did not hold."""
    if args.gate is not None and len(args.checkpoints) != 1:
        raise ConfigError(f"--gate compares one checkpoint with a baseline, got {len(args.checkpoints)} checkpoints")
    device = require_device(args.device)
    checkpoints = [*args.checkpoints, *([args.gate] if args.gate else [])]
    candidates = [Candidate.parse(checkpoint) for checkpoint in checkpoints]
    patch_size = math.lcm(*(candidate.patch_size for candidate in candidates))  # the same pixels for all
    windows = load_windows(args, candidates[0].image_size, patch_size, device)
    print(f"{machine(device)}; {len(windows)} windows of {windows[0].images.shape[1]} views")
    per_candidate = [
        [
            evaluate(candidate, windows, steps, device, args.bf16)
            for steps in (candidate.has_loop and args.steps) or [candidate.num_steps]
        ]
        for candidate in candidates
    ]
    results = list(chain.from_iterable(per_candidate))
    print(table(results), flush=True)
    for candidate, found in zip(candidates, per_candidate, strict=True):
        print(*contrasts(candidate, found, windows, args), sep="\n")
    if args.json is not None:
        rows = [result.row() | {"per_window": result.windows} for result in results]
        args.json.write_text(json.dumps({"machine": machine(device), "results": rows}, indent=2) + "\n")
    if args.pictures is not None:
        picture_grid(args.pictures, candidates[0].load(device), windows, results[0].steps)
    if args.sparsification is not None:
        curves = window_curves(candidates[0].load(device), windows, results[0].steps)
        data = "synthetic benchmark" if args.data is None else args.data.name
        print(plot_curves(args.sparsification, {data: curves}, f"{candidates[0].label}, K = {results[0].steps}"))
    if args.rrd is not None:
        record_windows(args.rrd, candidates[0].load(device), windows, results[0].steps)
    if args.gate is None:
        return False
    count = max(map(len, per_candidate))  # one result without a loop stands beside every K of the other
    ours, baseline = (found * count if len(found) == 1 else found for found in per_candidate)
    comparisons = [c for new, old in zip(ours, baseline, strict=True) for c in compare(new, old, args.margin)]
    print("metric, baseline, difference to it with its 95 % interval over windows", *comparisons, sep="\n")
    print(gate_line(comparisons, candidates[0].label, candidates[1].label))
    return any(comparison.verdict == "worse" for comparison in comparisons)


if __name__ == "__main__":
    programs.run(main)
