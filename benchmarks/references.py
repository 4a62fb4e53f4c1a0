"""Several reference views on the frozen benchmark: how much the answer depends on the reference, and what fusion gains.

    python benchmarks/references.py                              # the embedded checkpoint, all 200 windows
    python benchmarks/references.py outputs/mine/best --windows 40 --references 2 4 --json references.json
    python benchmarks/references.py --cross outputs/small_references/last --references 3    # attention against fusion

For every window of six views: each view as the reference once (mean, spread over references, best of all), late fusion
of M paths against one path of the same K, and at equal compute, M paths of K / M steps. With ``--cross``,
cross-reference attention against late fusion of as many paths: with the same K, and with the K that takes as long.
Differences are paired by window, with 95 % bootstrap intervals. Needs torch and numpy, no ROS.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import numpy as np
import torch

from dvlt_ros.benchmark import machine, parse_count, parse_device, parse_output
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.fast import FastDvlt
from dvlt_ros.model import Dvlt
from dvlt_ros.model.references import fuse, predict_paths, spread_references
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.contrasts import mean_interval
from dvlt_ros.training.evaluation.windows import window_metrics
from dvlt_ros.training.references.cross import CrossReferenceDvlt
from dvlt_ros.training.synthetic import load_benchmark

TIME_SHARE = 0.65  # of the steps: with the sub-block a step takes half as long again
LOWER_IS_BETTER = {
    "abs_rel": True, "rel_l2": True, "rotation_error_deg": True, "translation_error_deg": True, "auc@30": False,
}  # fmt: skip
Figures = dict[str, np.ndarray]  # by what was run, and metric: (windows,)


def note(found: dict[str, list[Figures]], name: str, values: list[dict[str, float]]) -> None:
    """Adds a window's metrics."""
    row = {metric: np.array([value.get(metric, np.nan) for value in values]) for metric in LOWER_IS_BETTER}
    found.setdefault(name, []).append(row)


def values_of(rows: list[Figures], metric: str) -> np.ndarray:
    """Of the first view as the reference, or of the one answer that there is: (windows,)."""
    return np.array([row[metric][0] for row in rows])


def difference(values: np.ndarray, before: np.ndarray) -> str:
    """Paired by window, where both are known."""
    change = values - before
    change = change[np.isfinite(change)]
    return str(mean_interval(change)) if len(change) else "no window has it"


def figures(network: FastDvlt, windows: Iterator[Views], most: int, counts: list[int]) -> dict[str, list[Figures]]:
    """Metrics of each window by what was run; of ``every reference`` an array (views,)."""
    found: dict[str, list[Figures]] = {}

    for views in windows:
        features, count = network.encode(views.images), views.images.shape[1]
        paths = predict_paths(network, features, most, range(count))
        note(found, "every reference", [window_metrics(path, views)[0] for path in paths])
        for m in counts:
            fusion = fuse([paths[i] for i in spread_references(count, m)])
            note(found, f"M = {m}, K = {most}", window_metrics(fusion.prediction, views))
            if (steps := most // m) >= network.config.min_steps:
                fewer = predict_paths(network, features, steps, spread_references(count, m))
                note(found, f"M = {m}, K = {steps}", window_metrics(fuse(fewer).prediction, views))
    return found


def cross_figures(
    network: FastDvlt, cross: CrossReferenceDvlt, windows: Iterator[Views], most: int
) -> dict[str, list[Figures]]:
    """Late fusion of M paths, and the same paths with cross-reference attention."""
    found: dict[str, list[Figures]] = {}
    m = cross.references
    for views in windows:
        features = cross.encode(views.images)
        chosen = spread_references(views.images.shape[1], m)
        answers = {f"M = {m}, K = {most}": fuse(predict_paths(network, features, most, chosen)).prediction}
        for steps in (most, round(most * TIME_SHARE)):
            answers[f"M = {m}, K = {steps}, cross-reference attention"] = cross(features, steps)
        for name, answer in answers.items():
            note(found, name, window_metrics(answer, views))
    return found


def cross_report(found: dict[str, list[Figures]]) -> dict[str, dict[str, str]]:
    """Differences from late fusion, the first row."""
    first, *others = found
    table: dict[str, dict[str, str]] = {}
    for metric in LOWER_IS_BETTER:
        late = values_of(found[first], metric)
        table[metric] = {first: f"{np.nanmean(late):.4f}"}
        for name in others:
            table[metric][f"{name} against it"] = difference(values_of(found[name], metric), late)
    return table


def report(found: dict[str, list[Figures]], most: int) -> dict[str, dict[str, str]]:
    """A table by metric and row."""
    table: dict[str, dict[str, str]] = {}
    for metric, lower in LOWER_IS_BETTER.items():
        every = np.stack([row[metric] for row in found["every reference"]])  # (windows, views)
        every = every[np.isfinite(every).all(axis=1)]
        best = every.min(axis=1) if lower else every.max(axis=1)
        table[metric] = {
            f"M = 1, K = {most}": f"{every[:, 0].mean():.4f}",
            "mean over references": f"{every.mean():.4f}",
            "spread over references": f"{every.std(axis=1).mean():.4f}",
            "best of all references": f"{best.mean():.4f}",
        }
        first = values_of(found["every reference"], metric)
        for name in (name for name in found if name.startswith("M = ")):
            table[metric][f"{name} against M = 1, K = {most}"] = difference(values_of(found[name], metric), first)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="What several reference views change.")
    parser.add_argument("checkpoint", nargs="?", default=str(EMBEDDED_WEIGHTS), help="the embedded one by default")
    parser.add_argument("--windows", type=parse_count, default=200)
    parser.add_argument("--references", type=parse_count, nargs="+", default=[2, 4], metavar="M")
    parser.add_argument("--cross", metavar="CHECKPOINT", help="of recipe=small_references; the other one is its start")
    parser.add_argument("--steps", type=parse_count, metavar="K", help="the checkpoint's most by default")
    parser.add_argument("--device", type=parse_device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=parse_count, default=1, help="of PyTorch on a CPU")
    parser.add_argument("--json", type=parse_output)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Dvlt.from_pretrained(args.checkpoint).to(args.device)
    most = args.steps or model.config.num_steps
    windows = load_benchmark().batches(batch=1, device=args.device, count=args.windows)
    with torch.inference_mode():
        if args.cross is None:
            table = report(figures(FastDvlt(model), windows, most, args.references), most)
        else:
            cross = CrossReferenceDvlt.read(args.cross, args.references[0]).to(args.device)
            table = cross_report(cross_figures(FastDvlt(model), cross, windows, most))
    print(machine(args.device))
    for metric, rows in table.items():
        print(f"\n{metric}, {args.windows} windows of 6 views")
        print("\n".join(f"  {name:<34} {value}" for name, value in rows.items()))
    if args.json is not None:
        args.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
