"""What the node adds to the network: time per frame, window times under a 30 Hz camera, and memory over half an hour.

    python benchmarks/node_load.py overhead
    python benchmarks/node_load.py camera --seconds 60
    python benchmarks/node_load.py endurance --frames 54000

``overhead``: a recorded prediction replaces the model; a subscriber in another process receives depth, confidence and
points of 640 x 480. ``camera``: the embedded checkpoint; the time of a window in the node, with the same subscriber,
beside the mapper alone. ``endurance``: resident memory with a recorded prediction.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import cv2
import numpy as np
import rclpy
import torch
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

from dvlt_ros.benchmark import machine
from dvlt_ros.imaging import colour_image
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.front_end.window_result import WindowResult
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.prediction import Predictor, WindowPrediction
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.model import Dvlt, PixelMapping, prepare_images
from dvlt_ros.ros.messages import header, image_message
from dvlt_ros.ros.node import ReconstructNode
from dvlt_ros.ros.process import settle_process

HEIGHT, WIDTH = 480, 640
FRAME_NS = 33_333_333
TOPICS = {"depth/image": Image, "confidence/image": Image, "points": PointCloud2}


class RecordedPredictor(DvltPredictor):
    """Predicts the same at no cost: a slanted wall before a camera that stands still."""

    def __init__(self, model: Any, image_size: int) -> None:
        super().__init__(model, "cpu")
        blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        self._mapping: PixelMapping = prepare_images([blank], image_size).mappings[0]
        height, width = self._mapping.network_size
        self._depth = np.linspace(2, 4, height * width, dtype=np.float32).reshape(height, width)
        self._confidence = np.random.default_rng(0).uniform(1, 5, (height, width)).astype(np.float32)
        self._intrinsics = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        count = len(decoded)
        return WindowPrediction(
            np.tile(self._depth, (count, 1, 1)), np.tile(self._confidence, (count, 1, 1)),
            np.tile(np.eye(4), (count, 1, 1)), np.tile(self._intrinsics, (count, 1, 1)), self._mapping,
        )  # fmt: skip


def listen(ready: Any, domain_id: int) -> None:
    """Another process that receives the outputs and discards them."""
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("listener")
    for topic, kind in TOPICS.items():
        node.create_subscription(kind, topic, lambda _: None, QoSProfile(depth=5))
    ready.set()
    with suppress(ExternalShutdownException):
        rclpy.spin(node)


def play(seconds: float, domain_id: int) -> None:
    """Another process that is a camera of 30 Hz."""
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image", QoSProfile(depth=5))
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    images = textures(16)
    start_s = time.monotonic()
    for number in range(int(30 * seconds)):
        time.sleep(max(0.0, start_s + number / 30 - time.monotonic()))
        publisher.publish(image_message(images[number % 16], "rgb8", header("cam", time.time_ns())))


def textures(count: int) -> list[np.ndarray]:
    """Smooth random images (H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 255, (6, 8, 3), dtype=np.uint8) for _ in range(count)]
    return [cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for image in small]


@contextmanager
def active_node(domain_id: int, image_size: int | None, parameters: Mapping[str, Any]) -> Iterator[Any]:
    """An active node in this process; ``image_size``: of the recorded prediction, None: the embedded checkpoint."""
    module: Any = importlib.import_module("dvlt_ros.ros.lifecycle.parts")
    rclpy.init(domain_id=domain_id)
    if image_size is not None:
        model = Dvlt.from_pretrained()
        module.load_predictor = lambda *_: RecordedPredictor(model, image_size)
        parameters = {"loops.mode": "never", **parameters}  # a recorded prediction has no place descriptors
    values = {"output.publish_unscaled": True, "keyframes.min_change": 0.0, "model.device": "cpu", **parameters}
    node = ReconstructNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    for transition in (node.trigger_configure, node.trigger_activate):
        transition()
    try:
        yield node
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def other_process(target: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()  # rclpy may miss SIGTERM
        process.join()


def recorded_windows(mapper: Any) -> list[WindowResult]:
    """A list that grows by the result of every window that the mapper runs from now on."""
    found: list[WindowResult] = []
    step = mapper.step

    def recorded_step(flush: bool = False) -> MapUpdate | None:
        update: MapUpdate | None = step(flush)
        if update is not None and update.window is not None:
            found.append(update.window)
        return update

    mapper.step = recorded_step
    return found


def feed(node: Any, count: int) -> Iterator[float]:
    """Images one by one, each when the one before is published; yields what the node adds to each, in ms.

    That is everything from the offered image to its publication, decoding included, without the mapper's window.
    """
    mapping, mapper = node._stream.mapping, node._parts.mapper
    windows = recorded_windows(mapper)
    images = [image_message(image, "rgb8", header("cam", 1)) for image in textures(16)]
    for number in range(count):
        load = partial(decoded, images[number % 16])
        before = num_finished(mapper)
        start_s = time.perf_counter()
        mapping.offer(Frame(10**9 + number * FRAME_NS, "cam", time.monotonic_ns(), load))
        while num_finished(mapper) == before:
            time.sleep(0.0002)
        total_ms = (time.perf_counter() - start_s) * 1e3
        yield total_ms - sum(window.window_ms for window in windows)
        windows.clear()


def decoded(message: Image) -> Picture:
    return Picture(colour_image(message), None)


def num_finished(mapper: Mapper) -> int:
    """Frames that the node has dealt with."""
    counts = mapper.counters.read()
    return counts.published + counts.dropped + counts.refused


def overhead(args: argparse.Namespace) -> None:
    print(f"{machine(torch.device('cpu'))}; 640 x 480, what the node adds to a frame, ms")
    print(f"{'network':>10}{'stride':>8}{'median':>9}{'p99':>8}")
    for image_size in (112, 504):
        for stride in (1, 2):
            ready = multiprocessing.get_context("spawn").Event()
            parameters = {"output.points_stride": stride, "window.max_wait_s": 0.0}
            with (
                other_process(listen, ready, args.domain),
                active_node(args.domain, image_size, parameters) as node,
            ):
                ready.wait()
                while not all(publisher.get_subscription_count() for publisher in listened(node)):
                    time.sleep(0.05)
                times = list(feed(node, args.frames))[5:]
            print(f"{image_size:>10}{stride:>8}{statistics.median(times):>9.1f}{np.quantile(times, 0.99):>8.1f}")


def listened(node: Any) -> list[Any]:
    return [node._parts.outputs._depth, node._parts.outputs._confidence, node._parts.outputs._points]


def camera(args: argparse.Namespace) -> None:
    ready = multiprocessing.get_context("spawn").Event()
    with other_process(listen, ready, args.domain), active_node(args.domain, None, {}) as node:
        ready.wait()
        mapper = node._parts.mapper
        windows = recorded_windows(mapper)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        with other_process(play, args.seconds, args.domain):
            end_s = time.monotonic() + args.seconds
            while time.monotonic() < end_s:
                executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
    config = mapper.config
    in_node = [window.window_ms for window in windows if window.num_views == config.window.size]
    if not in_node:
        raise SystemExit(
            f"node_load: no window of {config.window.size} views in {args.seconds:g} s; set --seconds higher"
        )
    alone = mapper_alone(config, mapper.predictor, len(in_node))
    size, overlap = config.window.size, config.window.overlap
    print(f"{machine(torch.device('cpu'))}; embedded checkpoint, windows of {size} views with {size - overlap} new, ms")
    print(f"{'':>14}{'windows':>9}{'median':>9}{'p99':>8}")
    for name, times in (("mapper alone", alone), ("in the node", in_node)):
        print(f"{name:>14}{len(times):>9}{statistics.median(times):>9.1f}{np.quantile(times, 0.99):>8.1f}")
    print(f"ratio of the 99th percentiles: {np.quantile(in_node, 0.99) / np.quantile(alone, 0.99):.2f}")


def mapper_alone(config: MapperConfig, predictor: Predictor, count: int) -> list[float]:
    """Milliseconds of full windows without a node; the first three are left out."""
    mapper = Mapper(config, predictor)
    images = textures(16)
    times: list[float] = []
    for number in itertools.count():
        load = partial(Picture, images[number % 16], None)
        update = mapper.add(Frame(10**9 + number * FRAME_NS, "cam", time.monotonic_ns(), load))
        if update is None or update.window is None or update.window.num_views != config.window.size:
            continue
        times.append(update.window.window_ms)
        if len(times) == count + 3:
            break
    return times[3:]


def endurance(args: argparse.Namespace) -> None:
    print(f"{machine(torch.device('cpu'))}; resident memory in MiB, recorded prediction, every output has a subscriber")
    ready = multiprocessing.get_context("spawn").Event()
    with other_process(listen, ready, args.domain), active_node(args.domain, 112, {"output.points_stride": 2}) as node:
        ready.wait()
        for number, _ in enumerate(feed(node, args.frames)):
            if number % max(1, args.frames // 10) == 0:
                print(f"{number:>8} frames ({number / 30 / 60:5.1f} min at 30 Hz) {resident_mib():8.0f}", flush=True)


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description="What the node adds to the network.")
    parser.add_argument("mode", choices=("overhead", "camera", "endurance"))
    parser.add_argument("--frames", type=int, help="default: 300 of overhead, 54000 of endurance")
    parser.add_argument("--seconds", type=float, default=60.0, help="of camera")
    parser.add_argument("--domain", type=int, default=87, help="ROS domain")
    args = parser.parse_args()
    settle_process()
    args.frames = args.frames or (54_000 if args.mode == "endurance" else 300)
    {"overhead": overhead, "camera": camera, "endurance": endurance}[args.mode](args)


if __name__ == "__main__":
    main()
