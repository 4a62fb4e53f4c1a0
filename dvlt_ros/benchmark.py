"""Time, operations and memory of every stage of the model, for chosen views, sizes and K.

    ros2 run dvlt_ros dvlt_benchmark --views 8 16 --size 504x378 --steps 8 12 16
    python -m dvlt_ros.benchmark --help

Needs neither ROS nor weights (times do not depend on their values), and runs on CPU and GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from . import programs
from .cameras import fit_cameras
from .checkpoints import EMBEDDED, shipped
from .errors import DvltError, InputError
from .model import Dvlt, DvltConfig
from .model.config import PATCH_SIZE
from .model.weights import CONFIG_NAME, PUBLISHED_REPO

T = TypeVar("T")
RELEASED = "released"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    views: int
    width: int  # pixels
    height: int
    steps: int  # K


@dataclass(frozen=True)
class Measurement:
    """Medians over the repeats. ``total_ms`` is one whole window, ``step_ms`` one of its K steps."""

    views: int
    size: str
    steps: int
    gflop: float
    encode_ms: float
    step_ms: float
    decode_ms: float
    cameras_ms: float
    total_ms: float
    peak_mib: float | None  # GPU: allocated by torch; CPU: resident set of the process; None where unknown


def measure(
    model: Dvlt, case: Case, gflop: float, device: torch.device, dtype: torch.dtype, repeats: int
) -> Measurement:
    images = torch.rand(1, case.views, 3, case.height, case.width, device=device)
    autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), autocast:
        timed = Stopwatch(device, repeats)
        reset_peak_memory(device)
        features, encode_ms = timed(lambda: model.encode(images))
        state = model.begin(features)
        steps = model.schedule(case.steps)
        state, step_ms = timed(lambda: model.step(state, steps[0]))
        prediction, decode_ms = timed(lambda: model.decode(state))
        _, cameras_ms = timed(lambda: fit_cameras(prediction.ray_directions, prediction.ray_origins))
        _, total_ms = timed(lambda: model(images, case.steps).cameras())
        return Measurement(
            case.views, f"{case.width}x{case.height}", case.steps, gflop,
            encode_ms, step_ms, decode_ms, cameras_ms, total_ms, peak_memory_mib(device),
        )  # fmt: skip


class Stopwatch:
    """Runs a function once to warm up, then ``repeats`` times; returns its result and the median in ms."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device = device
        self.repeats = repeats

    def __call__(self, function: Callable[[], T]) -> tuple[T, float]:
        result = function()
        times = [self._once(function) for _ in range(self.repeats)]
        return result, statistics.median(times)

    def _once(self, function: Callable[[], object]) -> float:
        self._wait()
        start = time.perf_counter()
        function()
        self._wait()
        return 1e3 * (time.perf_counter() - start)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def count_gflop(config: DvltConfig, case: Case) -> float:
    """Floating-point operations of one window in 10^9 (a multiply-add is two), counted without running it."""
    with torch.device("meta"):
        model = Dvlt(config).eval()
        images = torch.empty(1, case.views, 3, case.height, case.width)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        state = model.begin(model.encode(images))
        model.decode(model.run(state, case.steps))
    return counter.get_total_flops() / 1e9


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # writing 5 resets the peak on Linux
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[1]) / 2**10 for line in status.splitlines() if line.startswith("VmHWM"))


def table(rows: Sequence[Measurement]) -> str:
    columns = ["views", "size", "K", "GFLOP", "encode", "step", "decode", "cameras", "total ms", "GFLOP/s", "peak MiB"]
    lines = ["  ".join(f"{name:>9}" for name in columns)]
    for row in rows:
        rate = row.gflop / row.total_ms * 1e3
        peak = "unknown" if row.peak_mib is None else f"{row.peak_mib:.0f}"
        times = (row.encode_ms, row.step_ms, row.decode_ms, row.cameras_ms, row.total_ms)
        cells = [row.views, row.size, row.steps, f"{row.gflop:.1f}", *(f"{t:.1f}" for t in times), f"{rate:.0f}", peak]
        lines.append("  ".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)


def machine(device: torch.device) -> str:
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{_cpu_name()}, {torch.get_num_threads()} threads"
    )
    return f"{name}; torch {torch.__version__}, Python {platform.python_version()}"


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def parse_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def parse_size(text: str) -> tuple[int, int]:
    try:
        width, height = (parse_count(part) for part in text.split("x"))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT in pixels, got {text!r}") from None
    return width, height


def parse_image_size(text: str) -> tuple[int, int]:
    width, height = parse_size(text)
    if width % PATCH_SIZE or height % PATCH_SIZE:
        raise argparse.ArgumentTypeError(f"width and height must be multiples of {PATCH_SIZE}, got {text!r}")
    return width, height


@dataclass(frozen=True)
class Network:
    """What is timed; its weights are random, which take the same time."""

    name: str
    config: DvltConfig


def parse_config(text: str) -> Network:
    if text == RELEASED:
        return Network(f"the architecture of {PUBLISHED_REPO}", DvltConfig())
    own = shipped(text)
    path = Path(text) if own is None else own / CONFIG_NAME
    try:
        return Network(f"the architecture of {path.parent.name or path.name}", DvltConfig.from_file(path))
    except DvltError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_device(text: str) -> torch.device:
    if text.split(":")[0] not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:INDEX, got {text!r}")
    try:
        return torch.empty(1, device=text).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {str(error).splitlines()[0]}") from error


def parse_output(text: str) -> Path:
    """A file that can be written to; one that exists keeps its content until there is a new one."""
    try:
        Path(text).open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {error.strerror}") from error
    return Path(text)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        prog="dvlt_benchmark", description="Time, operations and memory of the model's stages."
    )
    parser.add_argument("--views", type=parse_count, nargs="+", default=[8, 16] if on_gpu else [2, 4])
    parser.add_argument("--size", type=parse_image_size, nargs="+", default=[(504, 378) if on_gpu else (168, 126)])
    parser.add_argument("--steps", type=parse_count, nargs="+", default=[8, 12, 16] if on_gpu else [8, 16], metavar="K")
    parser.add_argument("--device", type=parse_device, default="cuda" if on_gpu else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16" if on_gpu else "float32")
    parser.add_argument(
        "--config",
        type=parse_config,
        default=RELEASED,
        help=f"{RELEASED}, {EMBEDDED}, dvlt-nano, or config.json of a checkpoint (default: {RELEASED})",
    )
    parser.add_argument("--repeats", type=parse_count, default=10 if on_gpu else 3)
    parser.add_argument("--json", type=parse_output, help="also write the figures to this file")
    args = parser.parse_args(argv)
    config: DvltConfig = args.config.config
    if config.recurrence_mode == "none" and set(args.steps) != {config.num_steps}:
        parser.error(f"argument --steps: decoupled weights run at K = {config.num_steps} alone, got {args.steps}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    try:
        run(args)
    except (DvltError, OSError) as error:
        raise SystemExit(f"dvlt_benchmark: {error}") from error


def run(args: argparse.Namespace) -> None:
    device: torch.device = args.device
    network: Network = args.config
    products = itertools.product(args.views, args.size, args.steps)
    cases = [Case(views, width, height, steps) for views, (width, height), steps in products]
    gflops = [count_gflop(network.config, case) for case in cases]
    model = Dvlt(network.config).eval().to(device)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{network.name}, {parameters:.2f} M parameters, random weights")
    print(f"{machine(device)}; {args.dtype}; median of {args.repeats}")
    rows: list[Measurement] = []
    for case, gflop in zip(cases, gflops, strict=True):
        try:
            rows.append(measure(model, case, gflop, device, DTYPES[args.dtype], args.repeats))
        except torch.cuda.OutOfMemoryError as error:
            print(table(rows))
            raise InputError(f"{case.views} views of {case.width}x{case.height} do not fit into {device}") from error
    print(table(rows))
    if args.json is not None:
        report = {"network": network.name, "machine": machine(device), "dtype": args.dtype}
        args.json.write_text(json.dumps(report | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    programs.run(main)
