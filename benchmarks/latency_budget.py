"""The latency budget with a real model on the CPU, whose steps become four times slower and faster while it runs.

    python benchmarks/latency_budget.py --plot latency_budget.png

The artificial load repeats every step: 2 times normally, 8 times and 0.5 times (every other step is left out) in
between. Frames arrive at a fixed rate on the real clock; if too many wait, the oldest are dropped. The budget is chosen
by the machine's speed, so that the middle of the range of K just fits.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.mapping.budget.controller import BudgetController, Plan
from dvlt_ros.mapping.budget.limits import Limits
from dvlt_ros.mapping.budget.quality_levels import QualityLevel
from dvlt_ros.model import Dvlt

REPEATS = (2.0, 8.0, 2.0, 0.5, 2.0)  # of every step, by stage; each changes by a factor of 4
IGNORED_WINDOWS = 5  # after each change


@dataclass(frozen=True)
class Row:
    """One window."""

    repeats: float
    plan: Plan
    level: QualityLevel
    num_views: int
    latency_ms: float


class Camera:
    """Arrival times of frames at a fixed rate."""

    def __init__(self, interval_ms: float) -> None:
        self.interval_ms = interval_ms
        self.waiting: deque[float] = deque()
        self._next_ms = now_ms()

    def wait(self, at_least: int, at_most: int) -> list[float]:
        """Arrivals of the newest frames, oldest first."""
        while True:
            while self._next_ms <= now_ms():
                self.waiting.append(self._next_ms)
                self._next_ms += self.interval_ms
            if len(self.waiting) >= at_least:
                break
            time.sleep(max(0.0, self._next_ms - now_ms()) * 1e-3)
        taken = list(self.waiting)[-at_most:]
        self.waiting.clear()
        return taken


def now_ms() -> float:
    return time.monotonic_ns() * 1e-6


@torch.inference_mode()
def run_window(model: Dvlt, num_views: int, image_size: int, num_steps: int, repeats: float) -> float:
    """Time of a window in ms; the encoder runs on every view, since nothing is cached here."""
    start_ms = now_ms()
    state = model.begin(model.encode(torch.rand(1, num_views, 3, image_size, image_size)))
    applied = 0.0
    for step in model.schedule(num_steps):
        applied += repeats
        while applied >= 1.0:
            state = model.step(state, step)
            applied -= 1.0
    model.decode(state, views=[num_views - 1]).depth.sum().item()
    return now_ms() - start_ms


def run_stage(
    model: Dvlt, controller: BudgetController, camera: Camera, limits: Limits, repeats: float, seconds: float
) -> list[Row]:
    rows: list[Row] = []
    end_ms = now_ms() + 1e3 * seconds
    while now_ms() < end_ms or len(rows) <= 2 * IGNORED_WINDOWS:
        level = controller.level
        num_retained = min(limits.window_overlap, level.window_size - 1)
        arrivals = camera.wait(1, level.window_size - num_retained)
        num_views = num_retained + len(arrivals)
        plan = controller.plan(num_views, len(arrivals), now_ms() - arrivals[0], camera.interval_ms)
        window_ms = run_window(model, num_views, level.image_size, plan.num_steps, repeats)
        latency_ms = now_ms() - arrivals[0]
        controller.observe(num_views, plan.num_steps, level.image_size, window_ms, overhead_ms=0.0)
        rows.append(Row(repeats, plan, level, num_views, latency_ms))
    return rows


def table(stages: list[list[Row]], budget_ms: float) -> str:
    lines = [
        f"budget {budget_ms:.0f} ms",
        f"{'repeats':>8}{'windows':>9}{'inside':>8}{'median':>9}{'worst':>8}{'K':>10}{'frames':>9}{'pixels':>9}",
    ]
    for stage in stages:
        kept = stage[IGNORED_WINDOWS:]
        latency = np.array([row.latency_ms for row in kept])
        lines.append(
            f"{stage[0].repeats:8.1f}{len(stage):9d}{np.mean(latency <= budget_ms):8.1%}{np.median(latency):9.0f}"
            f"{latency.max():8.0f}{span([row.plan.num_steps for row in kept]):>10}"
            f"{span([row.level.window_size for row in kept]):>9}{span([row.level.image_size for row in kept]):>9}"
        )
    kept = [row for stage in stages for row in stage[IGNORED_WINDOWS:]]
    share = np.mean([row.latency_ms <= budget_ms for row in kept])
    known = [row for row in kept if row.plan.predicted_ms is not None]
    error = np.median([abs(row.latency_ms / (row.plan.predicted_ms or np.nan) - 1) for row in known])
    lines.append(
        f"inside the budget after the first {IGNORED_WINDOWS} windows of each stage: {share:.1%} of {len(kept)}; "
        f"median error of the prediction {error:.1%}"
    )
    return "\n".join(lines)


def span(values: list[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)}..{max(values)}"


def plot(stages: list[list[Row]], budget_ms: float, path: Path) -> None:
    import matplotlib  # only needed for the plot

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for stage in stages for row in stage]
    curves = {
        "latency / ms": [row.latency_ms for row in rows],
        "K": [row.plan.num_steps for row in rows],
        "frames in a window": [row.level.window_size for row in rows],
        "network's pixels": [row.level.image_size for row in rows],
    }
    figure, axes = plt.subplots(len(curves), 1, sharex=True, figsize=(9, 8), constrained_layout=True)
    for axis, (name, values) in zip(axes, curves.items(), strict=True):
        axis.plot(values, ".-", markersize=3, linewidth=0.7)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        start = 0
        for stage in stages:
            axis.axvspan(start - 0.5, start + len(stage) - 0.5, alpha=0.05 * stage[0].repeats, color="tab:orange")
            start += len(stage)
    axes[0].axhline(budget_ms, color="tab:red", linewidth=0.8)
    axes[0].set_ylim(0, 2.5 * budget_ms)
    axes[-1].set_xlabel("window (shaded: how often each step is repeated)")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the five stages")
    parser.add_argument("--budget-ms", type=float, help="default: from a measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = Dvlt.from_pretrained(arguments.weights).eval()
    config = model.config
    limits = Limits(
        budget_ms=0.0, k_min=config.min_steps, k_max=config.num_steps,
        window_size=8, window_overlap=3, image_size=config.image_size,
    )  # fmt: skip
    middle = (limits.k_min + limits.k_max) // 2
    times_ms = [run_window(model, 4, limits.image_size, middle, REPEATS[0]) for _ in range(5)]
    usual_ms = float(np.median(times_ms[2:]))
    limits = replace(limits, budget_ms=arguments.budget_ms or 1.5 * usual_ms)
    controller, camera = BudgetController(limits), Camera(interval_ms=2.0 * usual_ms)
    stages = [run_stage(model, controller, camera, limits, repeats, arguments.seconds) for repeats in REPEATS]
    print(table(stages, limits.budget_ms))
    print(f"quality levels: {controller.quality_levels.num_changes} changes; {controller.quality_levels}")
    if arguments.plot:
        plot(stages, limits.budget_ms, arguments.plot)


if __name__ == "__main__":
    main()
