"""The fast path beside the plain model in the same run: windows, stages, accuracy, steadiness, cost laws.

    python benchmarks/speed.py                                         # small on a CPU, the whole list on a GPU
    python benchmarks/speed.py --config embedded --views 6 --size 168x126 --steps 8 --precision int8 --threads 1
    python benchmarks/speed.py --precision int8 --size 168x126 --images kitchen_frames --windows 1
    python benchmarks/speed.py --views 8 16 24 48 --size 504x378 --steps 8 12 16 --json speed.json --plot speed.png

Needs torch and numpy, no ROS; matplotlib for ``--plot``, OpenCV for ``--images``. The baseline is `dvlt_ros/model` as
of commit ecac070, eager, under inference_mode: in float32 and, on a GPU, under autocast by the fastest attention
backend.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from timing.paths import Eager, Window, fastest_eager, interleaved, pictures, recorded, relative_error, timed_ms
from timing.paths import Path as Network
from timing.report import Row, Steadiness, cost_law, plot, table

from dvlt_ros.benchmark import (
    Case,
    count_gflop,
    machine,
    parse_count,
    parse_device,
    parse_output,
    parse_size,
    peak_memory_mib,
    reset_peak_memory,
)
from dvlt_ros.fast import FastDvlt, Precision
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.model.dvlt import NUM_SPECIAL


class Comparison:
    """The models of a run on their device."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, args.device
        self.model = network(args)
        self.fast = FastDvlt(self.model, args.precision, args.merged_keys)
        self.rate = matrix_rate(self.device, torch.float32 if args.precision != "bfloat16" else torch.bfloat16)

    def row(self, views: int, size: tuple[int, int], steps: int, reserved: float | None) -> Row:
        """``reserved`` is that of `reserved_mib`."""
        width, height = size
        new = min(views - 1, self.args.new or max(1, views // 4))
        images = pictures(views, width, height)

        def window(path: Network) -> Window:
            return Window(path, images, max(size), steps)

        paths: dict[str, Network] = {"float32": Eager(self.model, torch.float32)}
        if self.device.type == "cuda":
            paths["autocast"] = fastest_eager(self.model, torch.bfloat16, window)
        best = "autocast" if "autocast" in paths else "float32"
        fast = window(self.fast)
        runs = {name: window(path) for name, path in paths.items()}
        runs |= {"fast": fast, "stream": fast.keeping(views - new)}
        samples = recorded(self.args.images, views) if self.args.images else [images]
        exact = paths["float32"]
        error = max(
            relative_error(*(Window(path, sample, max(size), steps)() for path in (self.fast, exact)))
            for sample in samples
        )
        times = interleaved(runs, self.device, self.args.repeats)
        medians = {name: statistics.median(values) for name, values in times.items()}
        stages, peak = self._stages(fast)
        eager_stages = medians_of(interleaved(runs[best].stages(), self.device, self.args.repeats))
        gflop = [count_gflop(self.model.config, Case(views, width, height, k)) for k in (steps, steps + 1)]
        low, _, high = statistics.quantiles(times["fast"], n=4)
        return Row(
            views, new, f"{width}x{height}", tokens_per_view(size), steps, gflop[0],
            {name: medians[name] for name in paths}, medians["fast"], (low, high), medians["stream"],
            medians[best] / medians["fast"], medians[best] / medians["stream"], eager_stages, stages,
            (gflop[1] - gflop[0]) * steps / stages["loop"] * 1e3 / self.rate, error, peak, reserved,
        )  # fmt: skip

    def steadiness(self, views: int, size: tuple[int, int], steps: int, windows: int) -> Steadiness:
        """Times of successive windows, and the overhead of another K besides its steps."""
        window = Window(self.fast, pictures(views, *size), max(size), steps)
        window()
        times, memory = [], []
        for _ in range(windows):
            times.append(timed_ms(window, self.device))
            memory.append(held_mib(self.device))
        unseen = FastDvlt(self.model, self.args.precision)  # weights are packed before the clock starts
        new_k_ms = timed_ms(lambda: unseen.schedule(steps), self.device)
        known_k_ms = statistics.median(timed_ms(lambda: unseen.schedule(steps), self.device) for _ in range(20))
        median = statistics.median(times)
        p99_over_median = float(np.quantile(times, 0.99)) / median
        tenth = max(1, windows // 10)
        growth_mib = max(memory[-tenth:]) - max(memory[:tenth])
        machine_p99 = machine_unsteadiness(self.device, median, windows)
        return Steadiness(windows, median, p99_over_median, machine_p99, growth_mib, new_k_ms, known_k_ms)

    def _stages(self, window: Window) -> tuple[dict[str, float], float | None]:
        reset_peak_memory(self.device)
        window()
        peak = peak_memory_mib(self.device)
        return medians_of(interleaved(window.stages(), self.device, self.args.repeats)), peak


def network(args: argparse.Namespace) -> Dvlt:
    torch.manual_seed(0)
    model = Dvlt.from_pretrained() if args.config == "embedded" else Dvlt(DvltConfig())
    return model.eval().to(args.device)


def tokens_per_view(size: tuple[int, int]) -> int:
    return NUM_SPECIAL + size[0] // PATCH_SIZE * (size[1] // PATCH_SIZE)


def reserved_mib(args: argparse.Namespace, size: tuple[int, int], views: int, steps: int) -> float | None:
    """The most that PyTorch reserves of a GPU for windows of the fast path alone, weights and graph included."""
    if args.device.type != "cuda":
        return None
    fast = FastDvlt(network(args), args.precision, args.merged_keys)  # the plain model is freed, as on a robot
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(args.device)
    window = Window(fast, pictures(views, *size), max(size), steps)
    for _ in range(3):  # the second captures the graph, the third replays it alone
        window()
    return torch.cuda.max_memory_reserved(args.device) / 2**20


def medians_of(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}


def machine_unsteadiness(device: torch.device, milliseconds: float, repeats: int) -> float:
    """99th percentile over median of matrix products of about that time: the steadiness of the machine."""
    a, b = (torch.randn(1024, 1024, device=device) for _ in range(2))
    out = torch.empty_like(a)
    once = statistics.median(timed_ms(lambda: torch.mm(a, b, out=out), device) for _ in range(10))

    def products() -> None:
        for _ in range(max(1, round(milliseconds / once))):
            torch.mm(a, b, out=out)

    times = [timed_ms(products, device) for _ in range(repeats)]
    return float(np.quantile(times, 0.99)) / statistics.median(times)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of the best of some products of large square matrices."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = [timed_ms(lambda: a @ b, device) for _ in range(30)]
    return 2 * size**3 / min(times) / 1e6


def held_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmRSS"))


def parse_arguments() -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="The fast path beside the plain model.")
    parser.add_argument("--config", choices=("released", "embedded"), default="released" if on_gpu else "embedded")
    parser.add_argument("--views", type=parse_count, nargs="+", default=[8, 16, 24, 48] if on_gpu else [2, 4, 6])
    parser.add_argument("--new", type=parse_count, help="new views of the streaming case; a quarter by default")
    sizes = [(504, 378)] if on_gpu else [(112, 84), (168, 126)]
    parser.add_argument("--size", type=parse_size, nargs="+", default=sizes)
    parser.add_argument("--steps", type=parse_count, nargs="+", default=[8, 12, 16] if on_gpu else [8], metavar="K")
    parser.add_argument("--precision", choices=get_args(Precision), default="bfloat16" if on_gpu else "float32")
    parser.add_argument("--device", type=parse_device, default="cuda" if on_gpu else "cpu")
    parser.add_argument("--threads", type=parse_count, help="of PyTorch on a CPU; all by default")
    parser.add_argument("--repeats", type=parse_count, default=20 if on_gpu else 7)
    parser.add_argument("--images", type=Path, help="the error is that of a folder's pictures, not of random ones")
    parser.add_argument("--windows", type=parse_count, default=200, help="for the steadiness")
    parser.add_argument(
        "--merged-keys", type=parse_count, default=1, metavar="EDGE", help="not exact: speed_options.py"
    )
    parser.add_argument("--json", type=parse_output)
    parser.add_argument("--plot", type=parse_output)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", message="num_steps")  # one step more or less is counted too
    with torch.inference_mode():
        run(args)


def run(args: argparse.Namespace) -> None:
    cases = list(itertools.product(args.size, args.views, args.steps))
    reserved = [reserved_mib(args, *case) for case in cases]  # before anything else takes memory
    comparison = Comparison(args)
    print(f"{machine(args.device)}; {args.config}, {args.precision}; {comparison.rate:.0f} GFLOP/s; medians in ms")
    rows = [comparison.row(views, size, steps, mib) for (size, views, steps), mib in zip(cases, reserved, strict=True)]
    print(table(rows))
    steadiness = comparison.steadiness(args.views[0], args.size[-1], args.steps[0], args.windows)
    print(f"\n{steadiness}")
    law = cost_law(rows)
    if law is not None:
        print(law)
    if args.json is not None:
        report = {
            "machine": machine(args.device), "config": args.config, "precision": args.precision,
            "matrix_gflop_per_s": comparison.rate, "rows": [asdict(row) for row in rows],
            "steadiness": asdict(steadiness), "cost_law": None if law is None else asdict(law),
        }  # fmt: skip
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    if args.plot is not None:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
