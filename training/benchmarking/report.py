"""A Markdown report: our figures beside the published table, then each data set sequence by sequence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..prepare.jobs import HalfPixel
from .results import Run, SetResult, mean_over_sets
from .sets import RULES, SetRule

COLUMNS = ("rel_depth", "ir_depth", "auc@3", "auc@30")  # of the published table
NAMES = {
    "rel_depth": "Rel", "ir_depth": "IR", "auc@3": "AUC@3", "auc@30": "AUC@30", "abs_rel": "AbsRel", "delta1": "δ1",
    "focal_error_px": "focal error, px", "rel_world": "Rel, direct points", "ir_world": "IR, direct points",
}  # fmt: skip
PERCENT = ("ir_", "auc@", "racc@", "tacc@", "within_", "delta", "precision", "recall", "f1", "icp_overlap")
PER_SEQUENCE = (*COLUMNS, "abs_rel", "delta1", "focal_error_px")
UNKNOWN = "–"


@dataclass(frozen=True)
class Published:
    """Figures of other methods as their authors' peers printed them; shares in percent."""

    source: str
    sequences: dict[str, int]  # by data set, where it is known
    methods: dict[str, dict[str, dict[str, float]]]  # method, data set, metric

    def mean(self, method: str, names: Sequence[str], metric: str) -> float:
        """Over these data sets, each with the same weight."""
        return sum(self.methods[method][name][metric] for name in names) / len(names)


@cache
def published() -> Published:
    document = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    columns = document["columns"]
    methods = {
        method: {name: dict(zip(columns, figures, strict=True)) for name, figures in sets.items()}
        for method, sets in document["methods"].items()
    }
    return Published(document["source"], document["sequences"], methods)


def write_report(path: Path, run: Run, results: Sequence[SetResult], folders: Mapping[str, Path]) -> None:
    """``folders``: of the data sets' pictures, relative to the report."""
    lines = [f"# {run.model} on {', '.join(result.title for result in results)}", ""]
    lines += [*_conditions(run), "", *comparison(run, results), ""]
    for result in results:
        lines += [*_section(result, folders[result.name]), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _conditions(run: Run) -> Iterator[str]:
    network = f"Weights {run.weights}, K = {run.num_steps}, images {run.image_size} pixels wide, {run.precision}"
    yield f"{network}; {run.machine}."
    yield ""
    yield (
        "Published protocol: the first view is the reference; one similarity per sequence (Umeyama, refitted once "
        "without the largest 5 % of the residuals) from the primary points to the truth over all valid pixels. Rel is "
        "the mean of |error| / |true point|, IR the share below 3 %, both from the origin of the data set's own world. "
        "AUC is over all pairs of views, of the larger of both angles. Depth errors are after one "
        f"`{run.depth_alignment}` alignment per sequence. Means over sequences, unweighted."
    )


def comparison(run: Run, results: Sequence[SetResult]) -> Iterator[str]:
    """The published table with our rows on top, in the columns of the data sets that have figures."""
    present = [result for result in results if result.sequences]
    if not present:
        yield "No sequence could be evaluated."
        return
    names = [result.name for result in present]
    yield "Rel / IR % / AUC@3 / AUC@30; the last column weighs data sets equally: IR % / AUC@30."
    yield ""
    yield "| method | " + " | ".join(result.title for result in present) + " | mean |"
    yield "| --- |" + " --- |" * (len(names) + 1)
    for convention in present[0].conventions:
        row = f"**{run.model}**" + (", consistent half-pixels" if convention == "consistent" else "")
        cells = [_ours(result, convention) for result in present]
        means = [mean_over_sets(present, metric, convention) for metric in ("ir_depth", "auc@30")]
        mark = " \\*" if any(map(reservations, present)) else ""
        yield f"| {row} | " + " | ".join([*cells, " / ".join(_percent(value) for value in means) + mark]) + " |"
    for method, figures in published().methods.items():
        cells = [_theirs(figures[name]) if name in figures else UNKNOWN for name in names]
        complete = all(name in figures for name in names)
        means = [published().mean(method, names, metric) for metric in ("ir_depth", "auc@30")] if complete else []
        yield f"| {method} | " + " | ".join([*cells, " / ".join(f"{x:.1f}" for x in means) or UNKNOWN]) + " |"
    yield ""
    yield f"Source of the other rows: {published().source}."
    if empty := [result for result in results if not result.sequences]:
        yield ""
        yield "Without any figure: " + ", ".join(result.title for result in empty) + "."
    if marked := [result for result in present if reservations(result)]:
        yield ""
        yield "\\* Does not compare: " + "; ".join(reason for result in marked for reason in reservations(result)) + "."


def reservations(result: SetResult) -> list[str]:
    """Why the figures of a data set do not compare with published ones."""
    reasons = []
    if len(result.sequences) < max(result.listed, published().sequences.get(result.name, 0)):
        reasons.append(_extent(result))
    summary = result.summary()
    if without := max(summary[name].skipped for name in COLUMNS):
        reasons.append(f"{result.title}: {without} of these without an answer, which the mean leaves out")
    if result.prepared != "published":
        reasons.append(f"{result.title}: depth prepared with {result.prepared} half-pixels")
    return reasons


def _extent(result: SetResult) -> str:
    text = f"{result.title}: {len(result.sequences)} of {result.listed} sequences"
    if any(result.name in figures for figures in published().methods.values()):
        text += f", published over {published().sequences.get(result.name, 'a number unknown here')}"
    return text


def _ours(result: SetResult, convention: HalfPixel) -> str:
    summary = result.summary(convention)
    return " / ".join(figure(name, summary[name].mean) for name in COLUMNS) + (" \\*" if reservations(result) else "")


def _theirs(figures: Mapping[str, float]) -> str:
    """With the digits that were printed: three or four of a ratio, one or two of a percentage."""
    texts = [f"{figures[name]:.4f}" if name == "rel_depth" else f"{figures[name]:.2f}" for name in COLUMNS]
    return " / ".join(text.removesuffix("0") for text in texts)


def _section(result: SetResult, folder: Path) -> Iterator[str]:
    rule = RULES.get(result.name, SetRule())
    yield f"## {result.title}"
    yield ""
    if result.listed:
        yield f"{_extent(result)}; lengths in {rule.unit}. {rule.note}".strip()
    if result.failures:
        yield ""
        yield f"**{len(result.failures)} failed**, and count in no figure:"
        yield ""
        yield from (f"* `{failure.sequence}`: {failure.cause}" for failure in result.failures)
    if not result.sequences:
        return
    yield ""
    pictures = "image, true and predicted depth, relative error, confidence; from the best to the worst by Rel"
    yield f"![{pictures}]({folder.as_posix()}/page.png)"
    for convention in result.conventions:
        yield from ("", f"### By sequence, half-pixels {convention}", "")
        yield from _by_sequence(result, convention)
    yield from ("", "### All figures", "")
    yield from _all_figures(result)


def _by_sequence(result: SetResult, convention: HalfPixel) -> Iterator[str]:
    yield "| sequence | views | size | " + " | ".join(map(label, PER_SEQUENCE)) + " | s |"
    yield "| --- |" + " ---: |" * (len(PER_SEQUENCE) + 3)
    for sequence in result.sequences:
        figures = " | ".join(figure(name, sequence.metrics[convention][name]) for name in PER_SEQUENCE)
        height, width = sequence.size
        views = f"{sequence.views}" + (f", {sequence.left_out} not on disk" if sequence.left_out else "")
        yield f"| {sequence.name} | {views} | {width} × {height} | {figures} | {sequence.seconds:.1f} |"


def _all_figures(result: SetResult) -> Iterator[str]:
    summaries = [result.summary(convention) for convention in result.conventions]
    yield (
        "| figure | " + " | ".join(f"{convention}: mean ± std" for convention in result.conventions) + " | sequences |"
    )
    yield "| --- |" + " ---: |" * (len(summaries) + 1)
    for name, first in summaries[0].items():
        cells = [f"{figure(name, s[name].mean)} ± {figure(name, s[name].std)}" for s in summaries]
        skipped = f" ({first.skipped} without)" if first.skipped else ""
        yield f"| {label(name)} | " + " | ".join(cells) + f" | {first.sequences}{skipped} |"


def label(name: str) -> str:
    return NAMES.get(name, name) + (" %" if name.startswith(PERCENT) else "")


def figure(name: str, value: float) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    return _percent(value) if name.startswith(PERCENT) else f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else UNKNOWN
