"""Plot of an evaluation. It avoids pyplot, which would need a display."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

from ..errors import one_line
from ..export.files import write_atomically
from .report import NAMES
from .trajectory import ALIGNMENTS, Evaluation, Matched

Up = Literal["x", "y", "z"]
SEEN_FROM: dict[Up, tuple[int, int]] = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}
COLOURS = {"se3": "tab:orange", "sim3": "tab:blue"}


def write_plot(path: Path, matched: Matched, evaluation: Evaluation, up: Up) -> None:
    """A PNG: the path along the axis that points up in the truth's frame, the error and the scale over the distance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.1, 1])
    _paths(figure.add_subplot(grid[:, 0]), matched, up)
    errors = figure.add_subplot(grid[0, 1])
    _errors(errors, matched)
    _scales(figure.add_subplot(grid[1, 1], sharex=errors), matched, evaluation)
    ate = ", ".join(f"{evaluation.ate_m[name].rmse:.3f} m {NAMES[name]}" for name in ALIGNMENTS)
    title = f"{Path(evaluation.estimate).name}: ATE {ate}, over {evaluation.path_m:.1f} m"
    figure.suptitle(one_line(title), fontsize=10, parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, dpi=110, format="png")
    write_atomically(path, png.getvalue())


def _paths(axis: Any, matched: Matched, up: Up) -> None:
    axes = SEEN_FROM[up]
    truth = matched.true_poses.positions_xyz
    axis.plot(*truth[:, axes].T, color="black", linewidth=2.2, label="truth")
    for name in ALIGNMENTS:
        positions = matched.by_alignment[name].positions
        axis.plot(*positions[:, axes].T, color=COLOURS[name], linewidth=1.2, label=f"estimate, {NAMES[name]}")
    axis.plot(*truth[:1, axes].T, "o", color="black", markersize=6, label="begin")
    names = ["xyz"[i] for i in axes]
    axis.set(xlabel=f"{names[0]}, m", ylabel=f"{names[1]}, m", title="from above", aspect="equal")
    axis.set_adjustable("datalim")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _errors(axis: Any, matched: Matched) -> None:
    for name in ALIGNMENTS:
        errors_m = matched.by_alignment[name].errors_m
        axis.plot(matched.distances_m, errors_m, color=COLOURS[name], linewidth=1.2, label=NAMES[name])
    axis.set(ylabel="error, m", title="error over distance")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _scales(axis: Any, matched: Matched, evaluation: Evaluation) -> None:
    scale = evaluation.scale
    for section in scale.sections:
        if section.scale is not None:
            axis.plot([section.begin_m, section.end_m], [section.scale] * 2, color="tab:green", linewidth=2.2)
    axis.axhline(scale.overall, color="tab:blue", linewidth=1, linestyle="--", label=f"overall {scale.overall:.4f}")
    axis.set(xlabel="distance along the true path, m", ylabel="estimated / true", title="scale over distance")
    axis.ticklabel_format(useOffset=False)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
