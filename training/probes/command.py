"""What every step of a network knows: probes, lens, controls, attention, in one report.

dvlt_probe embedded --output probes/
dvlt_probe outputs/mine/best --data recordings/kitchen --output probes/
dvlt_probe vggt=WEIGHTS --data kitchen --output probes/    # how-to/other-models.md
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch

from dvlt_ros import programs
from dvlt_ros.benchmark import machine
from dvlt_ros.errors import ConfigError, DataError, DvltError
from dvlt_ros.export.atomic import writable_folder

from ..data.readers.layouts import open_dataset
from ..data.types import Views
from ..evaluation.candidates import require_device
from ..evaluation.windows import recording_windows
from ..synthetic import SyntheticConfig, load_benchmark, sample_windows
from .figures import all_figures
from .probe import Origin, load_probes, save_probes
from .report import report, sentences
from .study import Plan, study
from .subject import Subject

TRAIN_SHARE = 0.6  # of the windows of recordings; the later ones are judged
PROBE_SEED = 2**38  # of synthetic training scenes; no recipe comes so far


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dvlt_probe", description="Probe what every step of a network knows.")
    parser.add_argument(
        "checkpoint", help="embedded, directory, .safetensors file or Hugging Face id; or MODEL[=WEIGHTS]"
    )
    parser.add_argument("--data", type=Path, help="posed RGB-D folder; synthetic scenes by default")
    parser.add_argument("--layout", default="auto", help="layout of --data")
    parser.add_argument(
        "--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="where --data has none"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for report.html, probes and figures")
    parser.add_argument("--windows", type=int, nargs=2, default=(48, 24), metavar=("TRAIN", "JUDGE"))
    parser.add_argument("--views", type=int, default=6, help="views per window of --data")
    parser.add_argument("--stride", type=int, default=1, help="frames of --data between the views of a window")
    parser.add_argument("--steps", type=int, metavar="K", help="the checkpoint's own by default")
    parser.add_argument("--updates", type=int, default=Plan.updates, help="of every probe")
    parser.add_argument("--seeds", type=int, default=Plan.seeds, help="probes of every whole layer")
    parser.add_argument(
        "--taps", nargs="+", default=(), metavar="PATTERN", help="modules that are the layers, * for a number"
    )
    parser.add_argument("--probes", type=Path, help="probes that were trained before: nothing is trained")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    for name in ("updates", "seeds", "views", "stride"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    if min(args.windows) < 2:
        parser.error(f"--windows must be at least 2 of each kind, got {args.windows}")
    if args.steps is not None and args.steps < 1:
        parser.error(f"--steps must be at least 1, got {args.steps}")
    return args


def load_windows(args: argparse.Namespace, subject: Subject) -> tuple[list[Views], list[Views]]:
    """To train on, and to judge by.

    Raises:
        DataError: fewer than two windows of a kind.
    """
    device, (train, judge) = torch.device("cpu"), args.windows
    if args.data is None:
        benchmark = load_benchmark()
        size = benchmark.config.height, benchmark.config.width
        scenes = SyntheticConfig(views=benchmark.config.views, height=size[0], width=size[1], augment=None)
        learnt = [sample_windows([PROBE_SEED + i], scenes, device) for i in range(0 if args.probes else train)]
        return learnt, list(benchmark.batches(batch=1, device=device, count=judge))
    options = {} if args.intrinsics is None else {"intrinsics": args.intrinsics}
    sequences = open_dataset(args.data, args.layout, **options)
    found = chain.from_iterable(
        recording_windows(s, subject.image_size, args.views, args.stride, subject.patch_size) for s in sequences
    )
    windows = list(found)
    first = round(TRAIN_SHARE * len(windows))
    learnt, judged = windows[:first][:train], windows[first:][:judge]
    if min(len(learnt), len(judged)) < 2:
        raise DataError(f"{args.data}: {len(windows)} windows of {args.views} views are too few to train and to judge")
    return learnt, judged


def run(args: argparse.Namespace) -> None:
    device = require_device(args.device)
    writable_folder(args.output)
    subject = Subject.load(args.checkpoint, device, args.taps)
    steps = args.steps or subject.num_steps
    if subject.looped is not None and args.steps is None:
        steps = subject.looped.config.num_steps
    earlier = load_probes(args.probes, subject.digest) if args.probes else None
    if earlier is not None and earlier[1].steps != steps:
        raise ConfigError(f"{args.probes}: probes of K = {earlier[1].steps}, not of K = {steps}")
    train, judged = load_windows(args, subject)
    plan = Plan(steps, args.updates, args.seeds)
    found = study(subject, train, judged, plan, earlier)
    save_probes(
        args.output / "probes.safetensors", found.probes,
        Origin(subject.digest, found.titles, steps, found.settled_update),
    )  # fmt: skip
    where = machine(device)
    document = {"checkpoint": args.checkpoint, "K": steps, "machine": where, "windows": [len(train), len(judged)]}
    (args.output / "figures.json").write_text(json.dumps(document | found.curves, indent=1) + "\n")
    height, width = judged[0].images.shape[-2:]
    grid = height // subject.patch_size, width // subject.patch_size
    title = f"Probes of {args.checkpoint}, K = {steps}"
    page = report(title, f"{where}; {len(judged)} windows to judge by", found, all_figures(found, grid))
    (args.output / "report.html").write_text(page)
    print(*sentences(found), f"{args.output / 'report.html'}", sep="\n")


def main(argv: Sequence[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run(parse_arguments(argv))
    except DvltError as error:
        raise SystemExit(f"dvlt_probe: {error}") from error


if __name__ == "__main__":
    programs.run(main)
