"""What a window takes of the CPU's memory, measured and as `dvlt_ros/mapping/inference/memory.py` predicts it.

    python benchmarks/window_memory.py                                   # the embedded checkpoint, 168 x 126
    python benchmarks/window_memory.py --published --size 504 378 --views 2 4

Each row is the growth of the resident set over that before the window, on top of the weights. ``--published`` takes the
released architecture with random weights and two encoder blocks, whose activations are those of all.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

import numpy as np
import torch

from dvlt_ros.benchmark import peak_memory_mib, reset_peak_memory
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.memory import window_bytes
from dvlt_ros.model import Dvlt, DvltConfig

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a window, measured and predicted.")
    parser.add_argument("--published", action="store_true", help="the released architecture, with random weights")
    parser.add_argument("--size", type=int, nargs=2, default=(168, 126), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--views", type=int, nargs="+", default=(8, 24, 64))
    args = parser.parse_args()
    released = DvltConfig(encoder_depth=2, num_steps=2, min_steps=1)
    predictor = DvltPredictor(Dvlt(released) if args.published else Dvlt.from_pretrained(None), CPU)
    width, height = args.size
    print("| views | measured MiB | predicted MiB |\n| --- | --- | --- |")
    for count in args.views:
        predicted = count * window_bytes(predictor, height, width) / 2**20
        print(f"| {count} | {grown_mib(predictor, height, width, count):.0f} | {predicted:.0f} |")


def grown_mib(predictor: DvltPredictor, height: int, width: int, count: int) -> float:
    """By how much the resident set has grown at most while a window of so many views ran."""
    picture = Picture(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8), None)
    frame = Frame(1, "camera", 0, lambda: picture)
    views = [View(number, frame, picture) for number in range(count)]
    predictor.reset()
    gc.collect()
    before_mib = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
    reset_peak_memory(CPU)
    predictor.predict(views, 2, max(height, width), range(count))
    peak_mib = peak_memory_mib(CPU)
    assert peak_mib is not None
    return peak_mib - before_mib


if __name__ == "__main__":
    main()
