"""The learning curves of a run, from the logs in its folder: losses and, where there was validation, its figures.

    python benchmarks/learning_curve.py outputs/small_cpu --output learning_curve.png
    python benchmarks/learning_curve.py outputs/first outputs/second --scalars train/rotation validation/abs_rel

Thin lines are the logged values, of a batch each; thick ones means of the ten reports around. Needs
`pip install '.[training]'`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dvlt_ros.errors import DataError, DvltError

SCALARS = ("train/total", "train/depth_error", "train/rotation", "train/translation", "train/found",
           "validation/abs_rel", "validation/auc@30", "validation/rotation_error_deg")  # fmt: skip
AROUND = 10  # reports of a mean


def curves(run: Path, scalars: Sequence[str]) -> dict[str, np.ndarray]:
    """Of each scalar that the run has logged: (N, 2), update and value.

    Raises:
        DataError: a folder without logs, or with none of the scalars.
    """
    logs = run / "logs"
    if not any(logs.glob("events.out.tfevents.*")):
        raise DataError(f"{logs}: no logs of TensorBoard here; a run writes them with log_with=tensorboard")
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0})
    events.Reload()
    there = events.Tags()["scalars"]
    found = {name: np.array([(e.step, e.value) for e in events.Scalars(name)]) for name in scalars if name in there}
    if not found:
        raise DataError(f"{logs}: has none of {', '.join(scalars)}; it has {', '.join(there)}")
    return found


def smooth(values: np.ndarray, around: int = AROUND) -> np.ndarray:
    """Means (N,) of the ``around`` values about each of (N,), of fewer at the ends."""
    kernel = np.ones(min(around, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def draw(runs: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """One panel for each scalar, all runs in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for found in runs.values() for name in found))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, names, strict=False):
        for number, (run, found) in enumerate(runs.items()):
            if name in found:
                updates, values = found[name].T
                if name.startswith("train/"):
                    axes.plot(updates, values, color=f"C{number}", alpha=0.3, linewidth=0.7)
                    values = smooth(values)
                axes.plot(updates, values, color=f"C{number}", label=run)
        axes.set(title=name, xlabel="updates")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    for axes in figure.axes[len(names) :]:
        axes.remove()
    figure.savefig(path, dpi=100)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The learning curves of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders that training wrote")
    parser.add_argument("--scalars", nargs="+", default=SCALARS, help=f"default: {' '.join(SCALARS)}")
    parser.add_argument("--output", type=Path, default=Path("learning_curve.png"))
    args = parser.parse_args(argv)
    try:
        found = {run.name: curves(run, args.scalars) for run in args.runs}
    except DvltError as error:
        raise SystemExit(f"learning_curve: {error}") from error
    draw(found, args.output)
    for run, scalars in found.items():
        for name, values in scalars.items():
            last = smooth(values[:, 1])[-1] if name.startswith("train/") else values[-1, 1]
            print(f"{run}: {name} {values[0, 1]:.4f} at update {values[0, 0]:.0f}, {last:.4f} at {values[-1, 0]:.0f}")


if __name__ == "__main__":
    main()
