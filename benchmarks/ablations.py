"""The paper's ablations, small: one network, a line of configuration changed at a time, the same batches for all.

    python benchmarks/ablations.py                          # five trainings, each 10 minutes of an idle CPU core
    python benchmarks/ablations.py total_steps=300          # a first look
    python benchmarks/ablations.py recipe=nano total_minutes=20     # on a GPU

    Table 4      decoupled blocks; one shared block; with residual gates; with the state gate (the method)
    Tables 7, 8  the method with a linear and with a convolutional depth head

Every variant is trained with one K, because decoupled blocks have no other. Arguments override fields of the recipe, by
default nano_claims. A variant whose folder in ``output`` is complete is not trained again. The table has the paper's
figures of Table 4 beside ours; only their order can be compared.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import Scenes, Variant, judged_windows, trained
from overfit import configuration

from dvlt_ros.benchmark import machine
from dvlt_ros.model import Dvlt
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.contrasts import Interval, mean_interval
from dvlt_ros.training.evaluation.windows import evaluate_windows, means

RECIPE = "nano_claims"
METHOD = "state gate"
COMPARED = ("abs_rel", "rel_l2", "auc@30")
FIGURES = ("abs_rel", "rel_l2", "inlier_ratio", "auc@3", "auc@30")
PAPER = {  # Table 4: Rel. L2, IR %, AUC@3 %, AUC@30 %
    "decoupled": (0.056, 61.1, 23.0, 82.0),
    "shared": (0.045, 66.4, 30.2, 84.8),
    "residual gates": (0.042, 67.0, 31.5, 85.9),
    METHOD: (0.040, 69.2, 33.3, 86.9),
}

Judged = dict[Scenes, list[dict[str, float]]]  # metrics of each window


def variants(most_steps: int) -> tuple[Variant, ...]:
    """In the paper's order; each has the line of the one before replaced."""
    one_k = f"model.config.min_steps={most_steps}"
    modes = {
        "decoupled": "none", "shared": "no_depthscale", "residual gates": "no_sout", METHOD: "gated",
    }  # fmt: skip
    shared = [Variant(name, (one_k, f"model.config.recurrence_mode={mode}")) for name, mode in modes.items()]
    head = "model.config.depth_head_type=conv", "model.config.depth_head_channels=[64,32,32]"
    return (*shared, Variant(f"{METHOD}, convolutional head", (one_k, *head)))


def judge(model: Dvlt, judged: Mapping[Scenes, list[Views]]) -> Judged:
    """Metrics of every window of training scenes and of new ones."""
    steps = model.config.num_steps
    return {scenes: evaluate_windows(model, windows, steps) for scenes, windows in judged.items()}


def row(name: str, model: Dvlt, found: Judged) -> dict[str, Any]:
    """Means over the windows."""
    shown: dict[str, Any] = {"variant": name, "parameters": sum(p.numel() for p in model.parameters())}
    for scenes, windows in found.items():
        figures = means(windows)
        shown |= {f"{scenes} {figure}": figures[figure] for figure in FIGURES}
    return shown


def against(method: Judged, other: Judged) -> dict[str, Interval]:
    """The method minus another, paired by window; intervals know of windows, not of other trainings."""
    changes = {}
    for scenes, figure in product(method, COMPARED):
        pairs = zip(method[scenes], other[scenes], strict=True)
        change = np.array([a.get(figure, math.nan) - b.get(figure, math.nan) for a, b in pairs])
        changes[f"{scenes} {figure}"] = mean_interval(change[np.isfinite(change)])
    return changes


def line(found: dict[str, Any]) -> str:
    cells = "  ".join(f"{found[f'{scenes} {figure}']:12.4f}" for scenes in ("seen", "new") for figure in FIGURES)
    paper = PAPER.get(str(found["variant"]))
    return f"{found['variant']:<31} {found['parameters'] / 1e6:6.2f}  {cells}  {paper or ''}"


def main(arguments: list[str]) -> None:
    config = configuration(arguments, RECIPE)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judged = judged_windows(config, device)
    heads = "  ".join(f"{scenes:>4} {figure[:7]:>7}" for scenes in ("seen", "new") for figure in FIGURES)
    print(machine(device))
    print(f"{'trained as':<31} {'M':>6}  {heads}  paper: Rel. L2, IR, AUC@3, AUC@30")
    output, rows, windows = Path(config.output), [], {}
    for variant in variants(config.model.dvlt.num_steps):
        model = trained(variant, arguments, output).to(device).eval()
        windows[variant.name] = judge(model, judged)
        rows.append(row(variant.name, model, windows[variant.name]))
        print(line(rows[-1]), flush=True)
    others = {name: found for name, found in windows.items() if name != METHOD}
    for name, other in others.items():
        for figure, change in against(windows[METHOD], other).items():
            print(f"{METHOD} against {name}, {figure}: {change}")
    (output / "ablations.json").write_text(json.dumps({"machine": machine(device), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
