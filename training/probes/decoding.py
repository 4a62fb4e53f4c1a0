"""What the trained decoders read: of the state after every step, of full passes, and beyond the trained K."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch

from dvlt_ros.model import Dvlt, State

from ..data.types import Views
from ..evaluation.contrasts import mean_interval
from ..evaluation.windows import means, window_metrics
from .measure import top_share

FIGURES = ("abs_rel", "rel_l2", "inlier_ratio", "auc@3", "auc@30", "rotation_error_deg")
BEYOND = (1.25, 1.5, 2.0, 3.0, 4.0)  # times the trained K


def decoded(network: Dvlt, judged: Sequence[Views], steps: int) -> dict[str, object]:
    """The trained decoders on the state of every step, on full passes, and beyond the trained K."""
    lens: list[list[dict[str, float]]] = [[] for _ in range(steps + 1)]
    for views in judged:
        with torch.inference_mode():
            state = network.begin(network.encode(views.images))
            for row, state_k in zip(lens, [state, *network.states(state, steps)], strict=True):
                row += window_metrics(network.decode(state_k), views)
    found: dict[str, object] = {"lens": [_shown(rows) for rows in lens]}
    if network.config.recurrence_mode == "none":
        return found
    full = {k: _full(network, judged, k) for k in range(1, steps)}
    found["full"] = [_shown(full[k]) for k in range(1, steps)] + [_shown(lens[-1])]
    found["full_minus_stopped"] = [_paired(full[k], lens[k], "rel_l2") for k in range(1, steps)]
    trained = network.config.num_steps
    many = sorted({trained, *(round(trained * factor) for factor in BEYOND)})
    found["beyond"] = {k: _shown(_full(network, judged, k)) | _top(network, judged, k) for k in many}
    return found


def _full(network: Dvlt, judged: Sequence[Views], k: int) -> list[dict[str, float]]:
    with torch.inference_mode():
        return [row for views in judged for row in window_metrics(network(views.images, num_steps=k), views)]


def _top(network: Dvlt, judged: Sequence[Views], k: int) -> dict[str, float]:
    """Norm and share of the largest channels of the last state, over some windows."""
    with torch.inference_mode():
        begun = [network.begin(network.encode(views.images)) for views in judged[:4]]
        states: list[State] = [network.run(state, k) for state in begun]
    growth = [float(after.tokens.norm() / before.tokens.norm()) for before, after in zip(begun, states, strict=True)]
    return {"top_share": median(top_share(s.tokens) for s in states), "norm": median(growth)}


def _shown(rows: list[dict[str, float]]) -> dict[str, float]:
    mean = means(rows)
    return {name: mean[name] for name in FIGURES if name in mean}


def _paired(new: list[dict[str, float]], old: list[dict[str, float]], metric: str) -> dict[str, float]:
    change = torch.tensor([a.get(metric, torch.nan) - b.get(metric, torch.nan) for a, b in zip(new, old, strict=True)])
    known = change[change.isfinite()].numpy()
    return vars(mean_interval(known)) if len(known) else {}
