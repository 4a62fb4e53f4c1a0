"""Results of ``real_trajectory.py`` as a table and as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvlt_ros.evaluation.report import NAMES
from dvlt_ros.evaluation.trajectory import Alignment, Matched


@dataclass(frozen=True)
class Figures:
    """None: could not be measured."""

    sequence: str
    system: str
    alignment: Alignment
    frames: int
    of_frames: int
    maps: int
    path_m: float | None = None  # of the frames that have a pose
    ate_m: float | None = None  # root mean square
    ate_percent: float | None = None
    rpe_percent: float | None = None
    rpe_deg_per_m: float | None = None
    scale: float | None = None  # estimated metres per true one
    scale_drift_percent: float | None = None
    scale_parts: tuple[float, ...] = ()  # of the path's parts, relative to the whole
    abs_rel: float | None = None  # of the depth; one scale for all frames where lengths are no metres
    depth_scale: float | None = None  # median of estimated metres per true one; without metres, over the path's scale
    seconds: float = math.nan
    problem: str = ""


COLUMNS = {
    "frames": 8, "maps": 5, "ATE, m": 8, "ATE, %": 8, "RPE, %": 8, "deg/m": 7, "scale": 7, "parts": 12,
    "drift, %": 9, "AbsRel": 7, "depth": 7, "s": 7,
}  # fmt: skip


def table(figures: Sequence[Figures]) -> str:
    lines = [f"{'sequence':<16} {'system':<30}{'after':<8}" + "".join(f"{n:>{w}}" for n, w in COLUMNS.items())]
    for f in figures:
        parts = f"{min(f.scale_parts):.2f}-{max(f.scale_parts):.2f}" if f.scale_parts else "-"
        errors = [(f.ate_m, 3), (f.ate_percent, 1), (f.rpe_percent, 1), (f.rpe_deg_per_m, 1), (f.scale, 3)]
        cells = [f"{f.frames}/{f.of_frames}", str(f.maps), *(number(*error) for error in errors), parts]
        cells += [number(f.scale_drift_percent, 1), number(f.abs_rel, 3), number(f.depth_scale, 3), f"{f.seconds:.0f}"]
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True))
        lines.append(
            f"{f.sequence:<16} {f.system:<30}{NAMES[f.alignment]:<8}{row}" + (f"  {f.problem}" * bool(f.problem))
        )
    return "\n".join(lines)


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def write_plot(path: Path, results: Sequence[tuple[Figures, Matched | None]]) -> None:
    """Plots the paths of each sequence along the two axes of largest extent."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(figures.sequence for figures, _ in results))
    figure = Figure(figsize=(6 * len(names), 6), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _draw(axis, name, [(f, m) for f, m in results if f.sequence == name and m is not None])
    figure.savefig(path, dpi=110)


def _draw(axis: Any, name: str, results: Sequence[tuple[Figures, Matched]]) -> None:
    truth = max((m.true_poses.positions_xyz for _, m in results), key=len)
    widest = np.sort(np.argsort(truth.std(axis=0))[1:])
    axis.plot(*truth[:, widest].T, color="black", linewidth=2.5, label="truth")
    for figures, matched in results:
        positions = matched.by_alignment[figures.alignment].positions
        label = f"{figures.system}, {NAMES[figures.alignment]}: {figures.ate_m:.3f} m"
        axis.plot(*positions[:, widest].T, linewidth=1.2, label=label)
    axis.set(title=name, aspect="equal", xlabel=f"{'xyz'[widest[0]]}, m", ylabel=f"{'xyz'[widest[1]]}, m")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
