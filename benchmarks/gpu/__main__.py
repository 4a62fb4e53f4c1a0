"""What a GPU can show, in the time given: smoke test, speed, training, evaluation.

    make gpu ARGS="--minutes 25"
    python -m benchmarks.gpu --minutes 25 --output gpu_output

Each part is a process with a time limit of its own; after each, its end and what it printed are in ``--output``, and
a part that fails does not stop the next. Started again with the same folder, finished parts are left out and training
goes on where it was (``--anew`` repeats all). Needs no network and no ROS: Python 3.11 or later, PyTorch, and for
training the packages of the extra `training`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORT = "report.json"
SMOKE_MINUTES = 1.0
LEAST_MINUTES = 0.5  # a part with less is left out
SHARES = {"speed": 0.3, "evaluate": 0.15}  # of the time after the smoke test; training has the rest
GRACE_S = 20.0  # between the polite and the last signal


@dataclass(frozen=True)
class Part:
    """A command and its time."""

    name: str
    command: tuple[str, ...]  # of Python
    minutes: float


@dataclass(frozen=True)
class Outcome:
    """How a part ended: "finished", "out of time", "failed", or "left out"."""

    end: str
    exit_status: int | None
    seconds: float
    log: str  # file with all that it printed


def plan(
    minutes: float, output: Path, device: str, encoder: str, small: bool, trained_minutes: float = 0.0
) -> list[Part]:
    """``small``: shapes for a try on a CPU; ``trained_minutes``: of the run that training goes on from."""
    rest = max(0.0, minutes - SMOKE_MINUTES)
    share = {name: rest * part for name, part in SHARES.items()}
    training_minutes = rest - sum(share.values())
    run = output / "training"
    speed = ["benchmarks/speed.py", "--json", str(output / "speed.json"), "--device", device]
    if small:
        speed += ["--views", "2", "--size", "56x42", "--steps", "2", "--repeats", "1", "--windows", "2"]
    else:
        speed += ["--views", "8", "16", "24", "48", "--size", "504x378", "--steps", "8", "12", "16"]
    recipe = "tiny" if small else ("small" if encoder else "nano")
    # a tenth is left to start, to validate and to write the state
    total_minutes = trained_minutes + 0.9 * training_minutes
    options = [f"recipe={recipe}", f"output={run}", f"total_minutes={total_minutes:.2f}"]
    train = ["-m", "dvlt_ros.training.train", *options]
    if encoder and not small:
        train.append(f"model.encoder_weights={encoder}")
    evaluate = ["-m", "dvlt_ros.training.evaluate", str(run / "best"), "embedded", "--device", device]
    if small:
        evaluate += ["--steps", "2", "--windows", "2"]
    return [
        Part("smoke", ("-m", "benchmarks.gpu.smoke", "--device", device), SMOKE_MINUTES),
        Part("speed", tuple(speed), share["speed"]),
        Part("train", tuple(train), training_minutes),
        Part("evaluate", tuple(evaluate), share["evaluate"]),
    ]


def run(part: Part, output: Path) -> Outcome:
    """Runs a part to its end or its time limit; what it prints goes to the console and to a file."""
    log = output / f"{part.name}.log"
    if part.minutes < LEAST_MINUTES:
        return Outcome("left out", None, 0.0, "")
    start_s = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *part.command], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=file, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        end = "finished"
        try:
            process.wait(60 * part.minutes)
        except subprocess.TimeoutExpired:
            end = "out of time"
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if end == "finished" and process.returncode:
        end = "failed"
    return Outcome(end, process.returncode, time.monotonic() - start_s, log.name)


def read(path: Path) -> dict[str, Outcome]:
    if not path.exists():
        return {}
    return {name: Outcome(**values) for name, values in json.loads(path.read_text()).items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=25.0, help="for all parts together (default: 25)")
    parser.add_argument("--output", type=Path, default=Path("gpu_output"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--encoder", default="", help="DINOv2-small for recipe=small; without it recipe=nano is trained"
    )
    parser.add_argument("--anew", action="store_true", help="repeat finished parts, too")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the order of things on a CPU")
    args = parser.parse_args(argv)
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    outcomes = {} if args.anew else read(output / REPORT)
    trained_s = outcomes["train"].seconds if "train" in outcomes else 0.0
    for part in plan(args.minutes, output, args.device, args.encoder, args.small, trained_s / 60):
        if part.name != "train" and part.name in outcomes and outcomes[part.name].end == "finished":
            print(f"{part.name}: finished before", flush=True)
            continue
        print(f"{part.name}: {part.minutes:.1f} minutes at most", flush=True)
        outcome = run(part, output)
        if part.name == "train":
            outcome = replace(outcome, seconds=trained_s + outcome.seconds)
        outcomes[part.name] = outcome
        (output / REPORT).write_text(json.dumps({name: asdict(o) for name, o in outcomes.items()}, indent=2) + "\n")
        print(f"{part.name}: {outcome.end} after {outcome.seconds:.0f} s", flush=True)
        for line in tail(output / outcome.log) if outcome.log else []:
            print(f"    {line}", flush=True)
    sys.exit(0 if all(outcome.end != "failed" for outcome in outcomes.values()) else 1)


def tail(path: Path, lines: int = 15) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:]


if __name__ == "__main__":
    main()
