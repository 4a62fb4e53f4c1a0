"""What it costs to make the node's messages from a reconstruction, output by output, at 640 x 480.

    python benchmarks/node_overhead.py
    python benchmarks/node_overhead.py --publish

No model runs: the maps are a recorded answer of 504 x 378 and of 112 x 84. With ``--publish`` depth, confidence and
points are also published over DDS to a subscriber in another process. `node_load.py` measures the whole node.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import rclpy
import torch
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from dvlt_ros.benchmark import machine
from dvlt_ros.engine.frames import Cloud, Picture, Reconstruction
from dvlt_ros.engine.rendering import RenderedFrame, point_records
from dvlt_ros.model import prepare_images
from dvlt_ros.ros import messages

SIZE = (480, 640)
CAMERA = np.array([[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]])
UNTRUSTED = 0.1  # share of the pixels
DISCARDED = 5  # first frames: look-ups are made once
MAP_POINTS = 300_000
QUEUE = 5
PATIENCE_S = 5.0  # with messages that are still under way

Make = Callable[[RenderedFrame, Header], Any]


def depth(frame: RenderedFrame, head: Header) -> Image:
    return messages.image_message(frame.depth, "32FC1", head)


def confidence(frame: RenderedFrame, head: Header) -> Image:
    return messages.image_message(frame.confidence, "32FC1", head)


def points(frame: RenderedFrame, head: Header, stride: int = 1, organized: bool = False) -> PointCloud2:
    return messages.cloud_message(frame.points(stride, organized), head)


PUBLISHED: dict[str, tuple[type, Make]] = {
    "depth/image": (Image, depth),
    "confidence/image": (Image, confidence),
    "points": (PointCloud2, points),
}
CASES: dict[str, Make] = {
    "depth/image": depth,
    "confidence/image": confidence,
    "rgb/image_rect": lambda frame, head: messages.image_message(frame.rgb, "rgb8", head),
    "depth/camera_info": messages.camera_info_message,
    "points": points,
    "points, organized": partial(points, organized=True),
    "points, stride 2": partial(points, stride=2),
    "points, stride 2, organized": partial(points, stride=2, organized=True),
    "depth, confidence and points": lambda frame, head: [make(frame, head) for _, make in PUBLISHED.values()],
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
    """Milliseconds per frame; points alone find depth, confidence and colours made by the other outputs."""
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
    cloud, head, times = Cloud(positions, colors, np.ones(MAP_POINTS, np.float32)), messages.header("map", 1), []
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


def listen(arrived: Any, domain_id: int) -> None:
    """Another process that counts what comes."""
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("listener")

    def count(_: object) -> None:
        arrived.value += 1

    for topic, (kind, _) in PUBLISHED.items():
        node.create_subscription(kind, topic, count, QUEUE)
    with suppress(ExternalShutdownException):
        rclpy.spin(node)


@contextmanager
def listener(domain_id: int) -> Iterator[Any]:
    """The number of messages that have arrived over there."""
    context = multiprocessing.get_context("spawn")
    arrived = context.Value("q", 0)
    process = context.Process(target=listen, args=(arrived, domain_id), daemon=True)
    process.start()
    try:
        yield arrived
    finally:
        process.terminate()
        process.join()


def print_publication(sources: dict[str, Reconstruction], count: int, rate_hz: float, domain_id: int) -> None:
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("publisher")
    publishers = [(node.create_publisher(kind, topic, QUEUE), make) for topic, (kind, make) in PUBLISHED.items()]
    with listener(domain_id) as arrived:
        while not all(publisher.get_subscription_count() for publisher, _ in publishers):
            time.sleep(0.05)
        for name, source in sources.items():
            before, times = arrived.value, []
            for _ in range(count + DISCARDED):
                start_s = time.perf_counter()
                frame, head = RenderedFrame(source, SIZE), messages.header("cam", source.stamp_ns)
                for publisher, make in publishers:
                    publisher.publish(make(frame, head))
                times.append((time.perf_counter() - start_s) * 1e3)
                time.sleep(max(0.0, start_s + 1 / rate_hz - time.perf_counter()))
            sent, give_up_s = len(publishers) * len(times), time.monotonic() + PATIENCE_S
            while arrived.value - before < sent and time.monotonic() < give_up_s:
                time.sleep(0.05)
            print(f"{name:>32}{columns(times[DISCARDED:])}   {arrived.value - before} of {sent} messages arrived")
    node.destroy_node()
    rclpy.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to make the node's messages.")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--publish", action="store_true", help="publish depth, confidence and points too")
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second of --publish, at most")
    parser.add_argument("--domain", type=int, default=86, help="ROS domain of --publish")
    args = parser.parse_args()
    if args.frames < 1 or not args.rate > 0:
        parser.error("--frames and --rate must be above 0")
    sources = {}
    for image_size in (504, 112):
        source = reconstruction(image_size)
        sources["{1} x {0}".format(*source.depth.shape)] = source
    print(f"{machine(torch.device('cpu'))}; output {SIZE[1]} x {SIZE[0]}, from maps of")
    print_conversions(sources, args.frames)
    if args.publish:
        print("\ndepth, confidence and points made and published:")
        print_publication(sources, args.frames, args.rate, args.domain)


if __name__ == "__main__":
    main()
