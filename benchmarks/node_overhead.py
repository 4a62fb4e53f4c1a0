"""Time to make the node's messages from a reconstruction, output by output, at 640 x 480.

    python benchmarks/node_overhead.py

No model runs: the maps are recorded predictions of 504 x 378 and of 112 x 84. `node_load.py` measures the whole node.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from dvlt_ros.benchmark import machine
from dvlt_ros.mapping.data.frames import Cloud, Picture, Reconstruction
from dvlt_ros.mapping.outputs.rendering import RenderedFrame, point_records
from dvlt_ros.model import prepare_images
from dvlt_ros.ros import messages

SIZE = (480, 640)
CAMERA = np.array([[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]])
UNTRUSTED = 0.1  # share of the pixels
DISCARDED = 5  # first frames, which fill caches
MAP_POINTS = 300_000

Make = Callable[[RenderedFrame, Header], Any]


def depth(frame: RenderedFrame, head: Header) -> Image:
    return messages.image_message(frame.depth, "32FC1", head)


def confidence(frame: RenderedFrame, head: Header) -> Image:
    return messages.image_message(frame.confidence, "32FC1", head)


def points(frame: RenderedFrame, head: Header, stride: int = 1, organized: bool = False) -> PointCloud2:
    return messages.cloud_message(frame.points(stride, organized), head)


CASES: dict[str, Make] = {
    "depth/image": depth,
    "confidence/image": confidence,
    "rgb/image_rect": lambda frame, head: messages.image_message(frame.rgb, "rgb8", head),
    "depth/camera_info": messages.camera_info_message,
    "points": points,
    "points, organized": partial(points, organized=True),
    "points, stride 2": partial(points, stride=2),
    "points, stride 2, organized": partial(points, stride=2, organized=True),
    "depth, confidence and points": lambda frame, head: [make(frame, head) for make in (depth, confidence, points)],
}


def reconstruction(image_size: int) -> Reconstruction:
    """A slanted wall, a tenth of whose pixels are not trusted."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    mapping = prepare_images([image], image_size).mappings[0]
    height, width = mapping.network_size
    distance = np.linspace(2, 4, height * width, dtype=np.float32).reshape(height, width)
    distance[rng.random(distance.shape) < UNTRUSTED] = np.nan
    trust = rng.uniform(1, 9, distance.shape).astype(np.float32)
    intrinsics = mapping.intrinsics_to_network(torch.from_numpy(CAMERA)).numpy()
    return Reconstruction(1, "cam", 0, 0, Picture(image, CAMERA), distance, trust, intrinsics, np.eye(4), mapping)


def conversion_ms(source: Reconstruction, case: str, count: int) -> list[float]:
    """Milliseconds per frame; for points, depth, confidence and colours have been computed by the other outputs."""
    head, times = messages.header("cam", source.stamp_ns), []
    for _ in range(count + DISCARDED):
        frame = RenderedFrame(source, SIZE)
        if case.startswith("points"):
            _ = frame.depth, frame.confidence, frame.rgb
        start_s = time.perf_counter()
        CASES[case](frame, head)
        times.append((time.perf_counter() - start_s) * 1e3)
    return times[DISCARDED:]


def map_conversion_ms(count: int) -> list[float]:
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(MAP_POINTS, 3)).astype(np.float32)
    colors = rng.integers(0, 255, (MAP_POINTS, 3), dtype=np.uint8)
    cloud = Cloud(positions, colors, np.ones(MAP_POINTS, np.float32))
    head = messages.header("map", 1)
    times = []
    for _ in range(count + DISCARDED):
        start_s = time.perf_counter()
        messages.cloud_message(point_records(cloud), head)
        times.append((time.perf_counter() - start_s) * 1e3)
    return times[DISCARDED:]


def print_conversions(sources: dict[str, Reconstruction], count: int) -> None:
    print(f"{'':>32}" + "".join(f"{name:>20}" for name in sources))
    print(f"{'ms per frame':>32}" + f"{'median':>12}{'p99':>8}" * len(sources))
    for case in CASES:
        print(f"{case:>32}" + "".join(columns(conversion_ms(source, case, count)) for source in sources.values()))
    print(f"{f'map_points, {MAP_POINTS} points':>32}{columns(map_conversion_ms(count))}")


def columns(times: list[float]) -> str:
    return f"{statistics.median(times):>12.2f}{np.quantile(times, 0.99):>8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to make the node's messages.")
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()
    if args.frames < 1:
        parser.error("--frames must be above 0")
    sources = {}
    for image_size in (504, 112):
        source = reconstruction(image_size)
        sources["{1} x {0}".format(*source.depth.shape)] = source
    print(f"{machine(torch.device('cpu'))}; output {SIZE[1]} x {SIZE[0]}, from maps of")
    print_conversions(sources, args.frames)


if __name__ == "__main__":
    main()
