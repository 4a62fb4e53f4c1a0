"""What the trained decoders read: of the state after every step, of full passes, and beyond the trained K."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch

from dvlt_ros.model import Dvlt, State
from dvlt_ros.model.dvlt import NUM_SPECIAL

from ..data.types import Views
from ..evaluation.contrasts import mean_interval
from ..evaluation.windows import means, window_metrics
from .measure import movement

FIGURES = ("abs_rel", "rel_l2", "inlier_ratio", "auc@3", "auc@30", "rotation_error_deg")
PAIRED = ("rel_l2", "auc@30")  # of a full pass against a stopped one: geometry and poses
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
    found["full_minus_stopped"] = {
        metric: [_paired(full[k], lens[k], metric) for k in range(1, steps)] for metric in PAIRED
    }
    trained = network.config.num_steps
    many = sorted({trained, *(round(trained * factor) for factor in BEYOND)})
    found["beyond"] = {k: _shown(_full(network, judged, k)) | _top(network, judged, k) for k in many}
    return found


def _full(network: Dvlt, judged: Sequence[Views], k: int) -> list[dict[str, float]]:
    with torch.inference_mode():
        return [row for views in judged for row in window_metrics(network(views.images, num_steps=k), views)]


def _top(network: Dvlt, judged: Sequence[Views], k: int) -> dict[str, float]:
    """Norm over the first state's, and share of the largest channels, of patch tokens after K steps; some windows."""
    with torch.inference_mode():
        begun = [network.begin(network.encode(views.images)) for views in judged[:4]]
        states: list[State] = [network.run(state, k) for state in begun]
    moved = [
        movement([before.tokens[:, :, NUM_SPECIAL:], after.tokens[:, :, NUM_SPECIAL:]])
        for before, after in zip(begun, states, strict=True)
    ]
    return {"top_share": median(m.top_share[-1] for m in moved), "norm": median(m.norm[-1] for m in moved)}


def _shown(rows: list[dict[str, float]]) -> dict[str, float]:
    mean = means(rows)
    return {name: mean[name] for name in FIGURES if name in mean}


def _paired(new: list[dict[str, float]], old: list[dict[str, float]], metric: str) -> dict[str, float]:
    change = torch.tensor([a.get(metric, torch.nan) - b.get(metric, torch.nan) for a, b in zip(new, old, strict=True)])
    known = change[change.isfinite()].numpy()
    return vars(mean_interval(known)) if len(known) else {}
