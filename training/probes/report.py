"""The report of a study: one HTML file with every picture in it."""

from __future__ import annotations

import base64
from html import escape
from itertools import pairwise
from statistics import median_high
from typing import Any

from .settling import TOLERANCE
from .study import Findings

STYLE = "body{font-family:sans-serif;max-width:75rem;margin:1rem auto;line-height:1.4}img{max-width:100%}"
STYLE += "table{border-collapse:collapse}td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #ddd}"

EXPLAINED = {
    "Error of the point map after every layer": "A probe reads points from one patch token. Band: seeds. Lens: the "
    "trained decoders, which have seen the last state only. Dotted: what there is to read where nothing can be known.",
    "How the state moves": "Means over patch tokens of all windows.",
    "A full pass against stopping a longer one": "Both have run as many steps; only the full pass knew how many.",
    "K beyond the trained range": "Full passes; which figure breaks, and from which K.",
    "How sharply a patch looks at its match": "Global attention of patches of the first view that another view sees.",
    "Point maps of the probes": "First and last view of a window: x, y, z as red, green, blue, after every layer.",
    "Where one patch looks": "Attention averaged over heads. Cross: the true match.",
}

FULL_METRICS = {"rel_l2": ("Rel. L2", False), "auc@30": ("AUC@30", True)}  # and whether more is better


def report(title: str, machine: str, found: Findings, figures: dict[str, bytes]) -> str:
    """A page that needs nothing but itself."""
    parts = [f"<h1>{escape(title)}</h1><p>{escape(machine)}</p>", _list(sentences(found)), _table(found)]
    for name, png in figures.items():
        picture = base64.b64encode(png).decode()
        parts.append(f"<h2>{escape(name)}</h2><p>{escape(EXPLAINED[name])}</p>")
        parts.append(f'<img alt="{escape(name)}" src="data:image/png;base64,{picture}">')
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}{body}</html>\n'


def sentences(found: Findings) -> list[str]:
    """What the paper's statements become on this network, each with its figures, whether it holds or not."""
    curves: dict[str, Any] = found.curves
    main = [i for i, title in enumerate(curves["titles"]) if title.isdecimal()]
    said = [_fall([[seed["rel_l2"] for seed in curves["probe"][i]] for i in main])]
    moved = curves["movement"]
    rises = all(a < b for a, b in pairwise(moved["cosine"]))
    said.append(
        f"The cosine to the final state goes from {moved['cosine'][0]:.3f} to 1 and "
        f"{'rises' if rises else 'does not rise'} with every step; the first update is {moved['update'][0]:.3f} of the "
        f"state, the last {moved['update'][-1]:.3f}."
    )
    for metric, changes in curves.get("full_minus_stopped", {}).items():
        said += [_full_or_stopped(metric, k, change) for k, change in enumerate(changes, start=1) if change]
    if looks := curves.get("attention"):
        said.append(
            f"Attention: entropy {looks[0]['entropy']:.3f} at step 1, {looks[-1]['entropy']:.3f} at the last; mass "
            f"around the true match {looks[0]['match_mass']:.3f} and {looks[-1]['match_mass']:.3f}."
        )
    if steps := sorted(curves.get("settled_steps", ())):
        said.append(
            f"Depth is settled, within {TOLERANCE:.0%} of a window's last error, after {steps[0]} to {steps[-1]} "
            f"steps, {median_high(steps)} in the middle of {len(steps)} windows."
        )
    if "settled_update" in curves:
        settled = curves["settled_update"]
        said.append(
            "No update is small enough to stop at." if settled is None
            else f"Depth counts as settled from the first update of at most {settled:.4f} of the state."
        )  # fmt: skip
    return said


def _full_or_stopped(metric: str, k: int, change: dict[str, float]) -> str:
    """Whether the full pass is better, worse, or neither to 95 %."""
    name, more_is_better = FULL_METRICS[metric]
    low, high = change["low"], change["high"]
    judged = "not different from"
    if low > 0 or high < 0:
        judged = "better than" if (low > 0) == more_is_better else "worse than"
    return (
        f"A full pass of {k} steps is {judged} the longest pass stopped there: {name} {change['value']:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]."
    )


def _fall(rows: list[list[float]]) -> str:
    """Of the errors of each seed after every layer."""
    first, last = rows[0], rows[-1]
    spread = max(max(row) - min(row) for row in (first, last))
    fall = sum(first) / len(first) - sum(last) / len(last)
    beside = f"{'beyond' if abs(fall) > spread else 'within'} the spread of {len(first)} seeds ({spread:.4f})"
    return (
        f"The probe's Rel. L2 {'falls' if fall > 0 else 'does not fall, it goes'} from {sum(first) / len(first):.4f} "
        f"to {sum(last) / len(last):.4f}, {beside if len(first) > 1 else 'of one seed, whose spread is not known'}."
    )


def _list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(found: Findings) -> str:
    curves: dict[str, Any] = found.curves
    names = list(curves["probe"][0][0])
    head = "".join(f"<th>{escape(name)}</th>" for name in ("layer", *names))
    rows = [
        f"<tr><td>{escape(title)}</td>" + "".join(f"<td>{_mean(seeds, name):.4f}</td>" for name in names) + "</tr>"
        for title, seeds in zip(curves["titles"], curves["probe"], strict=True)
    ]
    rows += [
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{row[key]:.4f}</td>" for key in names) + "</tr>"
        for name, row in curves.get("controls", {}).items()
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _mean(seeds: list[dict[str, float]], name: str) -> float:
    return sum(seed[name] for seed in seeds) / len(seeds)
