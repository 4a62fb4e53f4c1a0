"""Images per second of the renderer of synthetic scenes, plain and compiled.

    python benchmarks/renderer.py                                   # on a GPU: 64 windows of eight views at once
    python benchmarks/renderer.py --size 112x84 --windows 8 --views 4 --repeats 2

With depth, poses and light, without photometric augmentation; scenes and camera paths are drawn anew every time.
Compiling takes minutes, from a cache of its own the second time. Needs torch and numpy, no ROS.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from dvlt_ros.benchmark import machine, parse_count, parse_device, parse_image_size
from dvlt_ros.training.synthetic import SyntheticConfig, compiled_renderer, sample_windows


def images_per_second(args: argparse.Namespace, render: Callable | None) -> list[float]:
    """One figure per repeat; a first run, which compiles, is left out."""
    config = SyntheticConfig(views=args.views, height=args.size[1], width=args.size[0], augment=None)
    rates = []
    for repeat in range(args.repeats + 1):
        seeds = range(repeat * args.windows, (repeat + 1) * args.windows)
        started = time.perf_counter()
        views = sample_windows(seeds, config, args.device, render=render)
        views.images.sum().item()  # waits for a GPU
        rates.append(args.windows * args.views / (time.perf_counter() - started))
    return rates[1:]


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="Images a second of the synthetic renderer.")
    parser.add_argument("--size", type=parse_image_size, default=(168, 126))
    parser.add_argument("--windows", type=parse_count, default=64 if on_gpu else 8, help="rendered at once")
    parser.add_argument("--views", type=parse_count, default=8 if on_gpu else 4)
    parser.add_argument("--repeats", type=parse_count, default=5 if on_gpu else 2)
    parser.add_argument("--device", type=parse_device, default="cuda" if on_gpu else "cpu")
    parser.add_argument("--threads", type=parse_count, default=1, help="of PyTorch on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{machine(args.device)}; {args.windows} windows of {args.views} views, {args.size[0]}x{args.size[1]}")
    for name, render in (("plain", None), ("compiled", compiled_renderer())):
        rates = images_per_second(args, render)
        print(f"{name:>10}  {statistics.median(rates):8.1f} images/s  ({min(rates):.1f} to {max(rates):.1f})")


if __name__ == "__main__":
    main()
