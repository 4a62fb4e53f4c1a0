"""Accuracy of the fast path's options for any checkpoint, and speed of merged keys.

    python benchmarks/speed_options.py                                          # the embedded checkpoint
    python benchmarks/speed_options.py outputs/mine/best --steps 4 8 --windows 200 --json options.json
    python benchmarks/speed_options.py --time --views 8 --size 504x378          # one step of the released configuration

Accuracy is on the first windows of the frozen synthetic benchmark (6 views of 168 x 126), each option beside the
plain model in float32. Needs torch and numpy, no ROS.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import get_args

import torch
from timing.paths import interleaved, ray_map, relative_error, relative_l2

from dvlt_ros.benchmark import machine, parse_count, parse_device, parse_image_size, parse_output
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import ConfigError
from dvlt_ros.fast import FastDvlt, Precision
from dvlt_ros.fast.linear import check_precision
from dvlt_ros.model import Dvlt, DvltConfig, Features, Prediction
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.model.dvlt import NUM_SPECIAL
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.windows import means, window_metrics
from dvlt_ros.training.synthetic import load_benchmark


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one option over all windows."""

    option: str
    steps: int
    abs_rel: float
    auc30: float
    depth_error: float  # the largest relative L2 difference of a window from the plain model
    ray_error: float  # of the ray map of six channels
    origin_error: float  # of its origins alone, which are small where a camera hardly moves
    mean_error: float  # the larger of depth's and the rays', mean over windows


def options(device: torch.device, merged_keys: Sequence[int]) -> list[tuple[Precision, int]]:
    """Precisions that the device has, and merged keys in the first of them."""
    able: list[Precision] = []
    for precision in get_args(Precision):
        try:
            able.append(check_precision(precision, device))
        except ConfigError:
            continue
    if device.type == "cpu":
        able.remove("bfloat16")  # most processors emulate it
    return [(precision, 1) for precision in able] + [(able[0], edge) for edge in merged_keys]


def accuracies(model: Dvlt, windows: Sequence[Views], steps: int, merged_keys: Sequence[int]) -> list[Accuracy]:
    expected = [model(views.images, steps) for views in windows]
    rows = [accuracy("plain float32", expected, expected, windows, steps)]
    for precision, edge in options(model.camera_token.device, merged_keys):
        fast = FastDvlt(model, precision, edge)
        found = [fast(views.images, steps) for views in windows]
        name = f"{precision}, merged keys {edge}" if edge > 1 else precision
        rows.append(accuracy(name, found, expected, windows, steps))
    return rows


def accuracy(
    option: str, found: Sequence[Prediction], expected: Sequence[Prediction], windows: Sequence[Views], steps: int
) -> Accuracy:
    figures = means([w for p, views in zip(found, windows, strict=True) for w in window_metrics(p, views)])
    pairs = list(zip(found, expected, strict=True))
    depth = max(relative_l2(f.depth, e.depth) for f, e in pairs)
    rays = max(relative_l2(ray_map(f), ray_map(e)) for f, e in pairs)
    origins = max(relative_l2(f.ray_origins, e.ray_origins) for f, e in pairs)
    mean = statistics.fmean(relative_error(f, e) for f, e in pairs)
    return Accuracy(option, steps, figures["abs_rel"], figures["auc@30"], depth, rays, origins, mean)


@dataclass(frozen=True)
class StepTime:
    """One step of the released configuration, random weights."""

    merged_keys: int
    views: int
    size: str
    matrix_gflop: float
    attention_gflop: float  # of frame and global attention
    ms: float


def step_times(args: argparse.Namespace) -> list[StepTime]:
    config, (width, height) = DvltConfig(), args.size
    model = Dvlt(config).eval().to(args.device)
    grid = (height // PATCH_SIZE, width // PATCH_SIZE)
    features = Features(torch.randn(1, args.views, grid[0] * grid[1], config.embed_dim, device=args.device), grid)
    paths = {edge: FastDvlt(model, args.precision, edge) for edge in (1, *args.merged_keys)}
    del model
    state, step = paths[1].begin(features), paths[1].schedule(config.num_steps)[1]
    runs = {str(edge): lambda fast=fast: fast.step(state, step) for edge, fast in paths.items()}
    times = interleaved(runs, args.device, args.repeats)
    tokens = NUM_SPECIAL + grid[0] * grid[1]
    rows = []
    for edge in paths:
        keys = NUM_SPECIAL + -(-grid[0] // edge) * -(-grid[1] // edge)
        pairs = args.views * tokens * (tokens + args.views * keys)  # within a view, over all views
        gflop = 2 * 2 * 12 * config.embed_dim**2 * args.views * tokens / 1e9, 4 * config.embed_dim * pairs / 1e9
        rows.append(StepTime(edge, args.views, f"{width}x{height}", *gflop, statistics.median(times[str(edge)])))
    return rows


def parse_arguments() -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="Accuracy and time of the fast path's options.")
    parser.add_argument("checkpoint", nargs="?", default=str(EMBEDDED_WEIGHTS), help="the embedded one by default")
    parser.add_argument("--steps", type=parse_count, nargs="+", metavar="K", help="the checkpoint's most by default")
    parser.add_argument("--windows", type=parse_count, default=60)
    parser.add_argument("--merged-keys", type=parse_count, nargs="+", default=[2, 3], metavar="EDGE")
    parser.add_argument("--time", action="store_true", help="time one step instead")
    parser.add_argument("--views", type=parse_count, default=8)
    parser.add_argument("--size", type=parse_image_size, default=(504, 378))
    parser.add_argument("--precision", choices=get_args(Precision), default="bfloat16" if on_gpu else "float32")
    parser.add_argument("--repeats", type=parse_count, default=3)
    parser.add_argument("--device", type=parse_device, default="cuda" if on_gpu else "cpu")
    parser.add_argument("--threads", type=parse_count, default=1, help="of PyTorch on a CPU")
    parser.add_argument("--json", type=parse_output)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message="num_steps")  # steps beyond the trained range are measured, too
    with torch.inference_mode():
        rows: list[Accuracy] | list[StepTime] = step_times(args) if args.time else checkpoint_accuracies(args)
    print(f"{machine(args.device)}\n{table(rows)}")
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def checkpoint_accuracies(args: argparse.Namespace) -> list[Accuracy]:
    model = Dvlt.from_pretrained(args.checkpoint).to(args.device)
    windows = list(load_benchmark().batches(batch=1, device=args.device, count=args.windows))
    ks = args.steps or [model.config.num_steps]
    return [row for steps in ks for row in accuracies(model, windows, steps, args.merged_keys)]


def table(rows: Sequence[Accuracy] | Sequence[StepTime]) -> str:
    def cell(value: object) -> str:
        return f"{value:#.4g}" if isinstance(value, float) else str(value)

    lines = [list(asdict(rows[0])), *(map(cell, asdict(row).values()) for row in rows)]
    return "\n".join("  ".join(f"{text:>{23 if i == 0 else 15}}" for i, text in enumerate(line)) for line in lines)


if __name__ == "__main__":
    main()
