"""Makes of a benchmark's published files what its loader reads, and looks at the result.

    ros2 run dvlt_ros dvlt_prepare eth3d data/test --source downloads/eth3d
    ros2 run dvlt_ros dvlt_prepare eth3d data/test --check
    python -m dvlt_ros.training.prepare ...

Stopped work is taken up where it was. A sequence that cannot be made is named with its cause, the next one
follows, and the exit status is 1. DATA_ROOT/<data set>/prepare_report.json tells what was made.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import get_args

from tqdm import tqdm

from dvlt_ros.errors import ConfigError, DataError, DvltError

from ..data.benchmarks import BENCHMARKS
from . import eth3d, nuscenes, scannetpp, seven_scenes
from .check import SequenceCheck, check_sequence
from .jobs import HalfPixel, Job, keep_settings, text_job

logger = logging.getLogger(__name__)

PREPARED: dict[str, ModuleType] = {
    "eth3d": eth3d,
    "sevenscenes": seven_scenes,
    "scannetpp": scannetpp,
    "nuscenes": nuscenes,
}  # DTU is read as it is downloaded
REPORT_FILE = "prepare_report.json"


@dataclass(frozen=True)
class Outcome:
    """What became of one sequence."""

    made: int = 0  # files
    kept: int = 0  # that were there before
    check: SequenceCheck | None = None
    error: str | None = None

    def as_text(self) -> str:
        parts = [f"{self.made} files made, {self.kept} kept"] if self.made or self.kept else []
        parts += [self.check.as_text()] if self.check else []
        parts += [f"FAILED: {self.error}"] if self.error else []
        return "; ".join(parts)


def make_all(plans: dict[str, Callable[[], list[Job]]]) -> dict[str, Outcome]:
    """Runs the jobs of each sequence that are not done; the first that fails ends its sequence only."""
    planned: dict[str, list[Job]] = {}
    outcomes: dict[str, Outcome] = {}
    for name, plan in tqdm(plans.items(), desc="plan", unit="sequence", disable=None):
        try:
            planned[name] = plan()
        except DataError as error:
            outcomes[name] = Outcome(error=str(error))
    with tqdm(total=sum(map(len, planned.values())), unit="file", disable=None) as progress:
        for name, jobs in planned.items():
            progress.set_description(name)
            outcomes[name] = _make_sequence(jobs, progress)
    return {name: outcomes[name] for name in plans}


def _make_sequence(jobs: list[Job], progress: tqdm) -> Outcome:
    outcome = Outcome()
    for done, job in enumerate(jobs):
        try:
            if job.is_done:
                outcome = replace(outcome, kept=outcome.kept + 1)
            else:
                job.run()
                outcome = replace(outcome, made=outcome.made + 1)
        except DataError as error:
            progress.update(len(jobs) - done)
            return replace(outcome, error=str(error))
        progress.update()
    return outcome


def check_all(dataset: str, root: Path, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Adds what the loader finds to the outcome of each sequence that did not fail before."""
    benchmark, checked = BENCHMARKS[dataset], dict(outcomes)
    for name, outcome in tqdm(outcomes.items(), desc="check", unit="sequence", disable=None):
        if outcome.error is None:
            try:
                checked[name] = replace(outcome, check=check_sequence(benchmark.open(root, name)))
            except DataError as error:
                checked[name] = replace(outcome, error=str(error))
    return checked


def prepare(
    dataset: str,
    root: Path,
    source: Path | None = None,
    check: bool = False,
    names: Sequence[str] | None = None,
    half_pixel: HalfPixel = "published",
) -> dict[str, Outcome]:
    """Makes (with a ``source``) and checks a benchmark under ``root``; the outcome of each sequence.

    Raises:
        DataError: no such source, or no list of sequences in it.
        ConfigError: nothing to do, an unknown sequence, a missing package, or work begun with other settings.
    """
    if source is None:
        if not check:
            raise ConfigError("nothing to do: pass --source FOLDER, --check, or both")
        chosen = _chosen(BENCHMARKS[dataset].sequences(root), names)
        outcomes = {name: Outcome() for name in chosen}
    else:
        outcomes = make_all(_plans(dataset, root, source, names, half_pixel))
    outcomes = check_all(dataset, root, outcomes) if check else outcomes
    _write_report(root / dataset / REPORT_FILE, outcomes)
    return outcomes


def _plans(
    dataset: str, root: Path, source: Path, names: Sequence[str] | None, half_pixel: HalfPixel
) -> dict[str, Callable[[], list[Job]]]:
    if dataset not in PREPARED:
        title = BENCHMARKS[dataset].title
        raise ConfigError(f"{title} needs no preparation: put what you download in {root / dataset}, then --check")
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    module, folder = PREPARED[dataset], root / dataset
    chosen = _chosen(module.names(source), names)
    keep_settings(folder, half_pixel)

    def planner(name: str) -> Callable[[], list[Job]]:
        return lambda: module.plan(source, folder, name, half_pixel)

    return {name: planner(name) for name in chosen}


def _chosen(known: Sequence[str], names: Sequence[str] | None) -> Sequence[str]:
    if unknown := [name for name in names or () if name not in known]:
        raise ConfigError(f"no sequence {', '.join(unknown)}; there are {', '.join(known)}")
    return names or known


def _write_report(path: Path, outcomes: dict[str, Outcome]) -> None:
    try:
        text_job(path, json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}, indent=2)).run()
    except DataError as error:  # a data root that one may only read can still be checked
        logger.warning("no report: %s", error)


def _parser() -> argparse.ArgumentParser:
    sources = "\n".join(f"{name}: {(module.__doc__ or '').strip()}\n" for name, module in PREPARED.items())
    parser = argparse.ArgumentParser(
        prog="dvlt_prepare",
        description="Makes of a benchmark's published files what its loader reads. Stopped work is taken up.",
        epilog=f"--source of each data set:\n\n{sources}\ndtu: {BENCHMARKS['dtu'].looked_for}, as it is downloaded.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=sorted(BENCHMARKS))
    parser.add_argument("data_root", type=Path, help="holds one folder per data set")
    parser.add_argument(
        "--source", type=Path, help="the published files, extracted; may be DATA_ROOT/<data set> itself"
    )
    parser.add_argument("--check", action="store_true", help="read every view and compare two of each sequence")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these")
    parser.add_argument(
        "--half-pixel", choices=get_args(HalfPixel), default="published",
        help="consistent: pixel centres everywhere; its figures are not the published ones' (default: published)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0, or 1 where a sequence failed, or 2 where nothing could be done."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        outcomes = prepare(args.dataset, args.data_root, args.source, args.check, args.sequences, args.half_pixel)
    except DvltError as error:
        print(f"dvlt_prepare: {error}", file=sys.stderr)
        return 2
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome.as_text()}")
    failed = [name for name, outcome in outcomes.items() if outcome.error]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} sequences are ready in {args.data_root / args.dataset}")
    return 1 if failed else 0
