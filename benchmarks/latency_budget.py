"""The latency budget with a real model on the CPU, whose steps become four times slower and faster while it runs.

    python benchmarks/latency_budget.py --plot latency_budget.png

The mapper and its thread are those of the node, loop closure is off. The artificial load repeats every step: 2 times
normally, 8 times and 0.5 times (every other step is left out) in between. Windows are refined; those where a part of
it did not fit are counted as cut short. The pictures of the demo arrive at a fixed rate on the real clock; if too many
wait, the oldest are dropped. The budget is chosen by the machine's speed, so that the middle of the range of K just
fits.
"""

from __future__ import annotations

import argparse
import itertools
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.fast import FastDvlt
from dvlt_ros.mapping.budget.config import BudgetConfig
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.front_end.window_result import WindowResult
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.mapping_thread import MappingThread
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.model import Dvlt, State
from dvlt_ros.sources import open_source

REPEATS = (2.0, 8.0, 2.0, 0.5, 2.0)  # of every step, by stage; each changes by a factor of 4
IGNORED_WINDOWS = 5  # after each change
NO_LOOPS = LoopsConfig(LoopDetectorConfig(mode="never"))


@dataclass(frozen=True)
class Row:
    """One window."""

    repeats: float
    window: WindowResult
    latency_ms: float  # of its oldest new frame
    refinement: str  # what became of it

    @classmethod
    def of(cls, window: WindowResult, repeats: float, refinement: str) -> Row:
        latency_ms = (time.monotonic_ns() - window.reconstructions[0].received_ns) * 1e-6
        return cls(repeats, window, latency_ms, refinement)

    @property
    def is_cut_short(self) -> bool:
        return "no time" in self.refinement


class LoadedDvlt(FastDvlt):
    """Repeats every step, or leaves steps out."""

    repeats = REPEATS[0]

    def states(self, state: State, num_steps: int) -> Iterator[State]:
        applied = 0.0
        for step in self.schedule(num_steps):
            applied += self.repeats
            while applied >= 1.0:
                state = self.step(state, step)
                applied -= 1.0
            yield state


class Camera:
    """The demo's pictures to and fro, at a fixed rate."""

    def __init__(self) -> None:
        views = [image.view.pinhole() for image in open_source(DEMO_SEQUENCE)]
        pictures = [Picture(view.image, view.lens.intrinsics) for view in views if view.lens is not None]
        self._pictures = itertools.cycle(pictures + pictures[-2:0:-1])

    def frame(self, stamp_ns: int) -> Frame:
        """It arrives now."""
        picture = next(self._pictures)
        return Frame(stamp_ns, "camera", time.monotonic_ns(), lambda: picture)

    def play(self, thread: MappingThread, interval_ms: float, seconds: float, rows: queue.SimpleQueue[Row]) -> None:
        """For so long, and until there are enough windows."""
        end_s, enough = time.monotonic() + seconds, rows.qsize() + 2 * IGNORED_WINDOWS
        while (now_s := time.monotonic()) < end_s or rows.qsize() <= enough:
            thread.offer(self.frame(time.monotonic_ns()))
            time.sleep(max(0.0, now_s + 1e-3 * interval_ms - time.monotonic()))


@contextmanager
def running(mapper: Mapper, network: LoadedDvlt, rows: queue.SimpleQueue[Row]) -> Iterator[MappingThread]:
    """The mapper's thread, which fills ``rows``."""

    def deliver(update: MapUpdate) -> None:
        assert update.window is not None
        rows.put(Row.of(update.window, network.repeats, mapper.status.values["refinement"]))
        mapper.integrate(update)
        mapper.counters.add(published=len(update.frames))

    failures: list[Exception] = []
    thread = MappingThread(mapper, deliver, failures.append, failures.append)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
    if failures:
        raise failures[0]


def usual_ms(mapper: Mapper, camera: Camera) -> float:
    """Time of a full window with the middle K and the usual load."""
    low, high = mapper.predictor.min_steps, mapper.predictor.max_steps
    config = mapper.config
    mapper.configure(replace(config, budget=BudgetConfig(k_max=(low + high) // 2)))
    frames = (camera.frame(time.monotonic_ns()) for _ in itertools.count())
    updates = (update for frame in frames if (update := mapper.add(frame)) is not None)
    times_ms = [update.window.window_ms for update in itertools.islice(updates, 5) if update.window is not None]
    mapper.configure(config)
    return float(np.median(times_ms[2:]))


def measure(weights: str, seconds: float, budget_ms: float | None) -> tuple[list[list[Row]], float, str]:
    """Rows by stage, the budget, and the quality level at the end."""
    model = Dvlt.from_pretrained(weights or None)
    predictor = DvltPredictor(model, "cpu", weights=weights)
    predictor.model = network = LoadedDvlt(model)
    mapper, camera = Mapper(MapperConfig(loops=NO_LOOPS), predictor), Camera()
    window_ms = usual_ms(mapper, camera)
    budget_ms = budget_ms or 1.5 * window_ms
    mapper.configure(replace(mapper.config, budget=BudgetConfig(latency_ms=budget_ms)))
    mapper.reset()
    rows: queue.SimpleQueue[Row] = queue.SimpleQueue()
    with running(mapper, network, rows) as thread:
        for repeats in REPEATS:
            network.repeats = repeats
            camera.play(thread, window_ms / 2, seconds, rows)
    measured = [rows.get() for _ in range(rows.qsize())]
    stages = [list(stage) for _, stage in itertools.groupby(measured, key=lambda row: row.repeats)]
    return stages, budget_ms, mapper.status.values["quality_level"]


def table(stages: list[list[Row]], budget_ms: float) -> str:
    lines = [
        f"budget {budget_ms:.0f} ms",
        f"{'repeats':>8}{'windows':>9}{'inside':>8}{'median':>9}{'worst':>8}{'K':>10}{'frames':>9}{'pixels':>9}"
        f"{'cut short':>11}",
    ]
    kept = [stage[IGNORED_WINDOWS:] for stage in stages]
    for stage in kept:
        latency = np.array([row.latency_ms for row in stage])
        lines.append(
            f"{stage[0].repeats:8.1f}{len(stage):9d}{np.mean(latency <= budget_ms):8.1%}{np.median(latency):9.0f}"
            f"{latency.max():8.0f}{span([row.window.plan.num_steps for row in stage]):>10}"
            f"{span([row.window.num_views for row in stage]):>9}{span([row.window.image_size for row in stage]):>9}"
            f"{np.mean([row.is_cut_short for row in stage]):11.0%}"
        )
    rows = [row for stage in kept for row in stage]
    share = np.mean([row.latency_ms <= budget_ms for row in rows])
    predicted = [(row.latency_ms, row.window.plan.predicted_ms) for row in rows]
    error = np.median([abs(latency_ms / ms - 1) for latency_ms, ms in predicted if ms is not None])
    lines.append(
        f"inside the budget after the first {IGNORED_WINDOWS} windows of each stage: {share:.1%} of {len(rows)}; "
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
        "K": [row.window.plan.num_steps for row in rows],
        "frames in a window": [row.window.num_views for row in rows],
        "network's pixels": [row.window.image_size for row in rows],
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
    parser.add_argument("--weights", default="", help="default: the embedded ones")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the five stages")
    parser.add_argument("--budget-ms", type=float, help="default: from a measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    stages, budget_ms, quality_level = measure(arguments.weights, arguments.seconds, arguments.budget_ms)
    print(table(stages, budget_ms))
    print(f"quality level: {quality_level}")
    if arguments.plot:
        plot(stages, budget_ms, arguments.plot)


if __name__ == "__main__":
    main()
