"""Compares a trajectory and its map with ground truth: ATE, RPE, scale drift, accuracy, completeness.

    ros2 run dvlt_ros dvlt_evaluate_trajectory out/trajectory_0.txt truth.txt --output evaluation
    python -m dvlt_ros.evaluate_trajectory out/recording truth.txt --map out/map_0.ply --true-map room.ply

Writes evaluation.json and evaluation.png to the output folder and prints a table. Needs evo, but no ROS.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import programs
from .errors import DvltError, InputError

INSTALL = "pip install 'evo>=1.31,<2' scipy"


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    try:
        run(args)
    except DvltError as error:
        sys.exit(f"dvlt_evaluate_trajectory: {error}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dvlt_evaluate_trajectory", description="Compares a trajectory and its map with ground truth."
    )
    parser.add_argument("estimate", type=Path, help="TUM file, or a bag with camera poses")
    parser.add_argument("truth", type=Path, help="TUM file of the same body's true poses")
    parser.add_argument("--topic", help="pose topic of a bag, where there are several")
    parser.add_argument(
        "--max-time-difference", type=above_zero, default=0.02, metavar="S", help="of a match (default: 0.02)"
    )
    parser.add_argument(
        "--rpe-lengths", type=above_zero, nargs="+", default=[1.0, 10.0, 100.0], metavar="M", help="(default: 1 10 100)"
    )
    parser.add_argument(
        "--sections", type=at_least_two, default=10, metavar="N", help="of the path, one scale each (default: 10)"
    )
    parser.add_argument("--map", type=Path, help="PLY in the frame of the estimate")
    parser.add_argument("--true-map", type=Path, help="PLY in the frame of the truth")
    parser.add_argument(
        "--map-alignment", choices=["sim3", "se3"], default="sim3", help="se3 for a map in metres (default: sim3)"
    )
    parser.add_argument(
        "--map-threshold",
        type=above_zero,
        default=0.05,
        metavar="M",
        help="largest distance of a right point (default: 0.05)",
    )
    parser.add_argument("--output", type=Path, default=Path("evaluation"), help="folder (default: evaluation)")
    parser.add_argument("--json", action="store_true", help="print the JSON, not the table")
    parser.add_argument("--no-plot", action="store_true", help="leave out evaluation.png")
    parser.add_argument("--up", choices=["x", "y", "z"], default="z", help="in the truth, for the plot (default: z)")
    args = parser.parse_args(argv)
    if (args.map is None) != (args.true_map is None):
        parser.error("--map and --true-map go together")
    return args


def above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def at_least_two(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, got {text}")
    return value


def run(args: argparse.Namespace) -> None:
    try:
        from .evaluation.maps import map_error
        from .evaluation.report import as_json, table
        from .evaluation.trajectory import evaluate, match
    except ImportError as error:
        raise InputError(f"evaluating needs evo: {INSTALL} ({error})") from error
    from .evaluation.plot import write_plot
    from .evaluation.ply import read_ply
    from .evaluation.reading import read_trajectory
    from .export.files import write_atomically

    estimate, truth = read_trajectory(args.estimate, args.topic), read_trajectory(args.truth)
    for trajectory in (estimate, truth):
        if trajectory.remark:
            print(trajectory.remark, file=sys.stderr)
    matched = match(estimate, truth, args.max_time_difference)
    evaluation = evaluate(matched, args.rpe_lengths, args.sections)
    of_map = None
    if args.map is not None:
        points, true_points = read_ply(args.map), read_ply(args.true_map)
        of_map = map_error(points, true_points, matched, args.map_alignment, args.map_threshold)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.output}: cannot be made: {error.strerror}") from error
    document = as_json(evaluation, of_map)
    write_atomically(args.output / "evaluation.json", f"{document}\n".encode())
    if not args.no_plot:
        write_plot(args.output / "evaluation.png", matched, evaluation, args.up)
    print(document if args.json else table(evaluation, of_map))


if __name__ == "__main__":
    programs.run(main)
