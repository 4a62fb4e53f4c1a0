"""The paper's ablations, small: one network, a line of configuration changed at a time, the same batches for all.

    python benchmarks/ablations.py                          # five trainings, each 20 minutes of an idle CPU core
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
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from claims import Scenes, Variant, judged_windows, trained
from overfit import configuration

from dvlt_ros.benchmark import machine
from dvlt_ros.model import Dvlt
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.windows import evaluate_windows, means

RECIPE = "nano_claims"
FIGURES = ("abs_rel", "rel_l2", "inlier_ratio", "auc@3", "auc@30")
PAPER = {  # Table 4: Rel. L2, IR %, AUC@3 %, AUC@30 %
    "decoupled": (0.056, 61.1, 23.0, 82.0),
    "shared": (0.045, 66.4, 30.2, 84.8),
    "residual gates": (0.042, 67.0, 31.5, 85.9),
    "state gate": (0.040, 69.2, 33.3, 86.9),
}


def variants(most_steps: int) -> tuple[Variant, ...]:
    """In the paper's order; each has the line of the one before replaced."""
    one_k = f"model.config.min_steps={most_steps}"
    modes = {
        "decoupled": "none", "shared": "no_depthscale", "residual gates": "no_sout", "state gate": "gated",
    }  # fmt: skip
    shared = [Variant(name, (one_k, f"model.config.recurrence_mode={mode}")) for name, mode in modes.items()]
    head = "model.config.depth_head_type=conv", "model.config.depth_head_channels=[64,32,32]"
    return (*shared, Variant("state gate, convolutional head", (one_k, *head)))


def row(name: str, model: Dvlt, judged: Mapping[Scenes, list[Views]]) -> dict[str, Any]:
    """Means over the windows of training scenes and of new ones."""
    found: dict[str, Any] = {"variant": name, "parameters": sum(p.numel() for p in model.parameters())}
    for scenes, windows in judged.items():
        figures = means(evaluate_windows(model, windows, model.config.num_steps))
        found |= {f"{scenes} {figure}": figures[figure] for figure in FIGURES}
    return found


def line(found: dict[str, Any]) -> str:
    cells = "  ".join(f"{found[f'{scenes} {figure}']:9.4f}" for scenes in ("seen", "new") for figure in FIGURES)
    paper = PAPER.get(str(found["variant"]))
    return f"{found['variant']:<31} {found['parameters'] / 1e6:6.2f}  {cells}  {paper or ''}"


def main(arguments: list[str]) -> None:
    config = configuration(arguments, RECIPE)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judged = judged_windows(config, device)
    heads = "  ".join(f"{scenes[:3]} {figure[:5]:>5}" for scenes in ("seen", "new") for figure in FIGURES)
    print(machine(device))
    print(f"{'trained as':<31} {'M':>6}  {heads}  paper: Rel. L2, IR, AUC@3, AUC@30")
    output, rows = Path(config.output), []
    for variant in variants(config.model.dvlt.num_steps):
        model = trained(variant, arguments, output).to(device).eval()
        rows.append(row(variant.name, model, judged))
        print(line(rows[-1]), flush=True)
    (output / "ablations.json").write_text(json.dumps({"machine": machine(device), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
