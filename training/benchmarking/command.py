"""Any model on public data sets, after the published protocol, beside the published table.

    ros2 run dvlt_ros dvlt_evaluate_benchmarks --data-root data/test --preset benchmark_lite
    python -m dvlt_ros.training.benchmarking --data-root data/test --model vggt --datasets eth3d --half-pixel consistent

Leaves <out>/<experiment>/<time>/report.md, and beside it metrics.json and page.png of each data set. Exit status
0: every sequence has figures; 1: some have none, and the report says why; 2: it could not begin.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast, get_args

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from dvlt_ros.backends import MultiViewModel, load_model, model_card, model_names
from dvlt_ros.benchmark import machine, peak_memory_mib, reset_peak_memory
from dvlt_ros.errors import ConfigError, DvltError

from ..data.benchmarks import BENCHMARKS
from ..evaluation.candidates import require_device
from ..evaluation.metrics import DepthAlignment
from ..prepare.jobs import SETTINGS_FILE, HalfPixel
from .reconstruction import require_packages
from .report import write_report
from .results import Run, SetResult
from .runner import DataSet, Protocol, run_set
from .sets import PRESETS, RULES, SetRule, Thresholds, chosen_sets


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dvlt_evaluate_benchmarks", description="A model on public data sets, beside the published table."
    )
    parser.add_argument("--data-root", type=Path, required=True, help="folder with one folder per data set")
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument("--preset", choices=sorted(PRESETS), help="(default: benchmark)")
    sets.add_argument("--datasets", nargs="+", metavar="NAME", help=f"instead of a preset: {', '.join(BENCHMARKS)}")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N sequences of each, to try it out")
    parser.add_argument("--model", choices=model_names(), default="dvlt", help="(default: dvlt)")
    parser.add_argument("--weights", default="", help="directory, file or Hugging Face id; the model's own by default")
    parser.add_argument("--steps", type=int, metavar="K", help="the model's own by default")
    parser.add_argument("--image-size", type=int, metavar="PX", help="width; the weights' own by default")
    parser.add_argument(
        "--half-pixel", choices=get_args(HalfPixel), default="published",
        help="consistent: judge once more with pixel centres everywhere, beside the published mixture",
    )  # fmt: skip
    parser.add_argument(
        "--depth-alignment", choices=get_args(DepthAlignment), default="median", help="(default: median)"
    )
    parser.add_argument(
        "--reconstruction", choices=("off", *get_args(Thresholds)), default="off",
        help="accuracy, completeness and F1 of whole clouds; metric: DTU's thresholds as millimetres (default: off)",
    )  # fmt: skip
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("evaluation"), help="(default: evaluation)")
    parser.add_argument("--experiment", help="name of the folder; by default the model and its weights")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        with logging_redirect_tqdm():
            complete = run(args)
    except DvltError as error:
        print(f"dvlt_evaluate_benchmarks: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    raise SystemExit(0 if complete else 1)


def run(args: argparse.Namespace) -> bool:
    """Whether every sequence that was tried has figures."""
    _check(args)
    data_sets = [data_set(name, args.data_root) for name in chosen_sets(args.preset, args.datasets, list(BENCHMARKS))]
    device = require_device(args.device)
    model = load_model(args.model, args.weights, device)
    described = _describe(args, model, device)
    folder = _new_folder(args)
    folders = {chosen.name: Path("test_results") / chosen.name for chosen in data_sets}
    results: list[SetResult] = []
    reset_peak_memory(device)
    for chosen in data_sets:
        protocol = _protocol(args, chosen.name, described)
        results.append(run_set(chosen, model, protocol, described, folder / folders[chosen.name], args.first))
        write_report(folder / "report.md", described, results, folders)  # after each: a run that is stopped leaves one
    _tell(folder / "report.md", results, peak_memory_mib(device))
    return not any(result.failures for result in results)


def data_set(name: str, root: Path) -> DataSet:
    loader = BENCHMARKS[name]
    prepared = _prepared(root / name / SETTINGS_FILE)
    return DataSet(name, loader.title, partial(loader.sequences, root), partial(loader.open, root), prepared)


def _prepared(settings: Path) -> HalfPixel:
    """What `prepare` noted; data that needed none, or came ready, is as published."""
    if not settings.is_file():
        return "published"
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))["half_pixel"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{settings}: unreadable: {error}") from error
    if found not in get_args(HalfPixel):
        raise ConfigError(f"{settings}: half_pixel must be one of {get_args(HalfPixel)}, got {found!r}")
    return cast(HalfPixel, found)


def _check(args: argparse.Namespace) -> None:
    """What would otherwise fail once per sequence, or after an hour."""
    patch = model_card(args.model).patch_size
    if args.image_size is not None and (args.image_size < patch or args.image_size % patch):
        raise ConfigError(f"--image-size of {args.model} must be a multiple of {patch}, got {args.image_size}")
    if args.first is not None and args.first < 1:
        raise ConfigError(f"--first must be at least 1, got {args.first}")
    if not args.data_root.is_dir():
        raise ConfigError(f"{args.data_root}: no such folder")
    if args.reconstruction != "off":
        require_packages()


def _describe(args: argparse.Namespace, model: MultiViewModel, device: torch.device) -> Run:
    if args.steps is not None and (args.steps < 1 or (model.max_steps == 1 and args.steps != 1)):
        raise ConfigError(f"--steps of {args.model} cannot be {args.steps}")
    return Run(
        model=model.card.title,
        weights=args.weights or model.card.default_weights.source,
        num_steps=args.steps or model.max_steps,
        image_size=args.image_size or model.image_size,
        precision="bfloat16 autocast" if device.type == "cuda" else "float32",
        depth_alignment=args.depth_alignment,
        reconstruction=args.reconstruction,
        machine=machine(device),
    )


def _protocol(args: argparse.Namespace, name: str, described: Run) -> Protocol:
    rule = RULES.get(name, SetRule())
    return Protocol(
        image_size=described.image_size,
        num_steps=args.steps,
        conventions=("published",) if args.half_pixel == "published" else ("published", "consistent"),
        depth_alignment=args.depth_alignment,
        reconstruction=None if args.reconstruction == "off" else rule.reconstruction[args.reconstruction],
    )


def _new_folder(args: argparse.Namespace) -> Path:
    experiment = args.experiment or (f"{args.model}-{Path(args.weights).stem}" if args.weights else args.model)
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(1):
        folder = Path(args.output / experiment / (started if number == 1 else f"{started}_{number}"))
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue  # a run of the same second
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def _tell(report: Path, results: Sequence[SetResult], peak_mib: float | None) -> None:
    for result in results:
        print(f"{result.name}: {len(result.sequences)} of {result.listed} sequences, {len(result.failures)} failed")
        for failure in result.failures:
            print(f"  {failure.sequence}: {failure.cause}")
    print(f"{report}" + ("" if peak_mib is None else f"; peak memory {peak_mib:.0f} MiB"))
