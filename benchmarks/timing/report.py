"""Results of `speed.py` as a table, as a plot and as a cost model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STAGES = ("prepare", "encode", "loop", "decode", "cameras", "copy")


@dataclass(frozen=True)
class Row:
    """One window size and K; milliseconds are medians."""

    views: int
    new: int  # of the streaming case
    size: str
    tokens: int  # of a view
    steps: int
    gflop: float
    eager_ms: dict[str, float]  # by precision: the window, all anew
    fast_ms: float
    fast_spread_ms: tuple[float, float]  # quartiles
    stream_ms: float  # features of the other views kept, new views decoded
    speedup: float  # over the fastest eager
    stream_speedup: float
    eager_stages_ms: dict[str, float]
    stages_ms: dict[str, float]
    loop_share: float  # of the matrix rate measured in this run
    relative_error: float  # against eager float32
    peak_mib: float | None  # of the whole process, plain model included
    reserved_mib: float | None  # on a GPU, of the fast path alone


@dataclass(frozen=True)
class Steadiness:
    windows: int
    median_ms: float
    p99_over_median: float
    machine_p99_over_median: float  # of one and the same matrix product, repeated for as long as a window takes
    growth_mib: float  # from the first tenth of the windows to the last
    new_k_ms: float  # what a K not seen before costs
    known_k_ms: float

    def __str__(self) -> str:
        return (
            f"{self.windows} windows one after the other: median {self.median_ms:.1f} ms, 99th percentile "
            f"{self.p99_over_median:.3f} of it (bare matrix products for as long: {self.machine_p99_over_median:.3f}), "
            f"memory {self.growth_mib:+.1f} MiB\n"
            f"another K costs {self.known_k_ms:.3f} ms, {self.new_k_ms:.3f} ms the first time"
        )


@dataclass(frozen=True)
class CostLaw:
    """Time and memory of windows of S views with P tokens each, N = S * P in all:

    window_ms = fixed + view * S + token * N + K * (step + step_token * N + step_own * N * P + step_all * N**2)
    memory_mib = held + held_token * N
    """

    milliseconds: dict[str, float]
    mebibytes: dict[str, float]
    worst: float  # relative error of the time of a whole window, over the rows that it was fitted to

    def __str__(self) -> str:
        time, memory = (
            ", ".join(f"{k} {v:.4g}" for k, v in law.items()) for law in (self.milliseconds, self.mebibytes)
        )
        return f"cost law, ms: {time}; at most {self.worst:.0%} off\n" + (f"cost law, MiB: {memory}" if memory else "")


def cost_law(rows: Sequence[Row]) -> CostLaw | None:
    """Least squares of relative errors; terms with a coefficient below 0 are left out.

    With one size the terms of a view's tokens are part of those of views; None with fewer than three numbers of views.
    """
    if len({row.views for row in rows}) < 3:
        return None
    sizes = len({row.size for row in rows})
    tokens = [row.views * row.tokens for row in rows]
    outside = {"fixed": [1.0] * len(rows), "view": [row.views for row in rows], "token": tokens}
    inside = {
        "step": [row.steps for row in rows],
        "step_token": [row.steps * n for row, n in zip(rows, tokens, strict=True)],
        "step_own": [row.steps * n * row.tokens for row, n in zip(rows, tokens, strict=True)],
        "step_all": [row.steps * n**2 for row, n in zip(rows, tokens, strict=True)],
    }
    if sizes == 1:  # they cannot be told from other terms
        del outside["view"], inside["step_own"]
    loop = np.array([row.stages_ms["loop"] for row in rows])
    rest = np.array([sum(row.stages_ms.values()) for row in rows]) - loop
    law = fitted(outside, rest) | fitted(inside, loop)
    predicted = sum(law[name] * np.array(values) for name, values in (outside | inside).items())
    memory = [row.reserved_mib or row.peak_mib for row in rows]
    held = {} if None in memory else fitted({"held": [1.0] * len(rows), "held_token": tokens}, np.array(memory))
    return CostLaw(law, held, float(np.abs(predicted / (rest + loop) - 1).max()))


def fitted(terms: dict[str, Any], values: np.ndarray) -> dict[str, float]:
    names = list(terms)
    while True:
        matrix = np.array([terms[name] for name in names], dtype=float).T / values[:, None]
        found = np.linalg.lstsq(matrix, np.ones(len(values)), rcond=None)[0]
        if (found >= 0).all():
            return dict.fromkeys(terms, 0.0) | {name: float(x) for name, x in zip(names, found, strict=True)}
        names.pop(int(found.argmin()))


def table(rows: Sequence[Row]) -> str:
    heads = ["views", "new", "size", "K", "eager", "autocast", "fast", "quartiles", "gain", "stream", "gain"]
    heads += ["matrix", "rel. L2", "MiB", "reserved"]
    lines = ["  ".join(f"{head:>9}" for head in heads)]
    for row in rows:
        autocast = row.eager_ms.get("autocast")
        low, high = row.fast_spread_ms
        cells = [
            row.views, row.new, row.size, row.steps, f"{row.eager_ms['float32']:.1f}",
            "" if autocast is None else f"{autocast:.1f}", f"{row.fast_ms:.1f}", f"{low:.0f}..{high:.0f}",
            f"{row.speedup:.2f}", f"{row.stream_ms:.1f}", f"{row.stream_speedup:.2f}", f"{row.loop_share:.0%}",
            f"{row.relative_error:.1e}", "unknown" if row.peak_mib is None else f"{row.peak_mib:.0f}",
            "" if row.reserved_mib is None else f"{row.reserved_mib:.0f}",
        ]  # fmt: skip
        lines.append("  ".join(f"{cell:>9}" for cell in cells))
    lines += ["", "ms of each stage: eager > fast", "  ".join(f"{head:>15}" for head in ("views, size, K", *STAGES))]
    for row in rows:
        cells = [f"{row.views}, {row.size}, {row.steps}"]
        cells += [f"{row.eager_stages_ms[stage]:.1f} > {row.stages_ms[stage]:.1f}" for stage in STAGES]
        lines.append("  ".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for size, steps in sorted({(row.size, row.steps) for row in rows}):
        chosen = [row for row in rows if (row.size, row.steps) == (size, steps)]
        views = [row.views for row in chosen]
        (line,) = axes.plot(views, [row.fast_ms for row in chosen], "o-", label=f"fast, {size}, K = {steps}")
        eager = [min(row.eager_ms.values()) for row in chosen]
        axes.plot(views, eager, "x--", color=line.get_color(), label=f"eager, {size}, K = {steps}")
    axes.set(xlabel="views", ylabel="window, ms", yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path)
