"""Windows of the embedded checkpoint by PyTorch and by exported graphs, in turns in one process, on a CPU.

    dvlt_export --output graphs --size 168x126
    dvlt_export --output graphs_int8 --size 168x126 --precision int8
    python benchmarks/runtimes.py graphs graphs_int8

Every window runs all anew and as a stream that has only its last two pictures new. Milliseconds of the processor,
medians and least; gains are over the plain model, everything anew. The error is the relative L2 to that model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from timing.paths import Eager, Window, pictures, relative_error
from timing.paths import Path as WindowPath

from dvlt_ros.benchmark import machine, parse_count
from dvlt_ros.fast import FastDvlt
from dvlt_ros.model import Dvlt
from dvlt_ros.runtimes import OnnxDvlt

EAGER = "PyTorch, eager"


def processor_ms(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def compare(model: Dvlt, graphs: list[Path], views: int, new: int, repeats: int) -> list[str]:
    """One line per way to run a window; graphs of the model at one image size."""
    ways: dict[str, WindowPath] = {EAGER: Eager(model, torch.float32)}
    ways |= {"PyTorch, float32": FastDvlt(model), "PyTorch, int8": FastDvlt(model, "int8")}
    exported = {folder.name: OnnxDvlt(folder) for folder in graphs}
    sizes = {(path.manifest.width, path.manifest.height) for path in exported.values()}
    if len(sizes) != 1:
        raise SystemExit(f"graphs of one image size are compared, got {sorted(sizes)}")
    width, height = sizes.pop()
    images = pictures(views, width, height)
    anew = {
        name: Window(path, images, max(width, height), model.config.num_steps)
        for name, path in (ways | exported).items()
    }
    streams = {name: window.keeping(views - new) for name, window in anew.items() if name != EAGER}
    truth = anew[EAGER]()
    errors = {name: relative_error(window(), truth) for name, window in anew.items()}
    spent: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for kind, windows in (("anew", anew), ("stream", streams)):
            for name, window in windows.items():
                spent.setdefault((kind, name), []).append(processor_ms(window))
    eager = spent["anew", EAGER]
    lines = [f"{'':<20} {'window':<7} {'median':>8} {'gain':>5} {'least':>8} {'gain':>5}    error"]
    for (kind, name), found in spent.items():
        middle, least = statistics.median(found), min(found)
        gains = statistics.median(eager) / middle, min(eager) / least
        lines.append(
            f"{name:<20} {kind:<7} {middle:8.1f} {gains[0]:5.2f} {least:8.1f} {gains[1]:5.2f}  {errors[name]:.1e}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graphs", type=Path, nargs="+", help="folders of dvlt_export, of the embedded checkpoint")
    parser.add_argument("--views", type=parse_count, default=6)
    parser.add_argument("--new", type=parse_count, default=2, help="of them in the stream")
    parser.add_argument("--repeats", type=parse_count, default=9)
    parser.add_argument("--threads", type=parse_count, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine(torch.device("cpu")))
    with torch.inference_mode():
        print(*compare(Dvlt.from_pretrained(), args.graphs, args.views, args.new, args.repeats), sep="\n")


if __name__ == "__main__":
    main()
