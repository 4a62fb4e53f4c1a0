"""Difficulty of the frozen synthetic benchmark: scores of predictors that do not use the image.

python benchmarks/synthetic_difficulty.py --windows 200 --training-windows 200
"""

from __future__ import annotations

import argparse
from statistics import mean

from tqdm import tqdm

from dvlt_ros.training.data.types import concatenate
from dvlt_ros.training.synthetic import SyntheticConfig, difficulty, load_benchmark, mean_depth_map, sample_windows

BATCH = 4


def main() -> None:
    parser = argparse.ArgumentParser(description="Difficulty of the frozen synthetic benchmark.")
    parser.add_argument("--windows", type=int, default=200, help="windows of the benchmark")
    parser.add_argument("--training-windows", type=int, default=200, help="windows that the mean depth map is made of")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    benchmark = load_benchmark()
    config = SyntheticConfig(height=benchmark.config.height, width=benchmark.config.width, augment=None)
    seeds = range(args.training_windows)
    batches_of_depth = [
        sample_windows(seeds[i : i + BATCH], config, args.device)
        for i in tqdm(range(0, len(seeds), BATCH), desc="training windows")
    ]
    depth_map = mean_depth_map(concatenate(batches_of_depth))
    batches = benchmark.batches(1, args.device, count=args.windows)
    rows = [difficulty(window, depth_map) for window in tqdm(batches, total=args.windows, desc="benchmark")]
    print(f"{len(rows)} windows of {benchmark.config.views} views, {config.width}x{config.height}")
    for name in ("constant", "mean_map", "covisible", "baseline"):
        print(f"{name:>10}  {mean(getattr(row, name) for row in rows):.3f}")


if __name__ == "__main__":
    main()
