"""Time to make the node's messages from a reconstruction, output by output, at 640 x 480.

    python benchmarks/node_overhead.py
    python benchmarks/node_overhead.py --surfaces       # what mesh and grid at 1 Hz add to every frame

No model runs: the maps are recorded predictions of 504 x 378 and of 112 x 84. `node_load.py` measures the whole node.

``--surfaces``: on the drives of 60 m of ``surfaces.py``, the node's own publishers of both topics with a subscriber of
each: keyframes kept, depth fused, mesh and grid read, messages made and handed to the middleware, all in one thread's
own time, divided by the frames of the drive.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import rclpy
import surfaces as drives
import torch
from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2
from simulation.robot import make_robot
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dvlt_ros.benchmark import machine
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Cloud, Picture, Reconstruction
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.outputs.rendering import RenderedFrame, point_records
from dvlt_ros.mapping.surfaces.surface_map import SurfaceMap
from dvlt_ros.model import prepare_images
from dvlt_ros.ros import messages
from dvlt_ros.ros.config import NodeConfig, OdometrySourceConfig
from dvlt_ros.ros.outputs.surfaces import SurfaceOutputs

SIZE = (480, 640)
CAMERA = np.array([[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]])
UNTRUSTED = 0.1  # share of the pixels
DISCOVERY_LIMIT_S = 60.0
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


def print_surfaces(seeds: list[int]) -> None:
    torch.set_num_threads(1)
    rclpy.init()
    config = NodeConfig(odometry=OdometrySourceConfig(source="topic"))
    node, listener = LifecycleNode("overhead"), Node("listener")
    node.trigger_configure()
    outputs = SurfaceOutputs(node, config)
    node.trigger_activate()
    for kind, topic in ((MarkerArray, "mesh"), (OccupancyGrid, "grid")):
        listener.create_subscription(kind, topic, lambda message: None, 1)
    end_s = time.monotonic() + DISCOVERY_LIMIT_S
    while not all(node.count_subscribers(topic) for topic in ("mesh", "grid")):  # rclpy has no event for it
        if time.monotonic() > end_s:
            raise SystemExit(f"mesh and grid have no listener after {DISCOVERY_LIMIT_S:g} s: is DDS blocked here?")
        time.sleep(0.01)
    mapper = cast(Mapper, SimpleNamespace(config=MapperConfig()))  # whose heights of obstacles the grid needs

    def publish(surfaces: SurfaceMap, _: object) -> None:
        outputs.publish(surfaces, mapper, config)

    print("seed  frames   in the frame's way, ms   with mesh and grid at 1 Hz, ms per frame")
    for seed in seeds:
        drive = drives.run(drives.with_people(make_robot(seed, 60.0)), seed, read=publish)
        kept_ms = sum(drive.kept_ms) / drive.num_frames
        print(f"{seed:4d} {drive.num_frames:7d} {kept_ms:24.2f} {drive.overhead_ms:42.1f}", flush=True)
    outputs.close()
    listener.destroy_node()
    node.destroy_node()
    rclpy.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to make the node's messages.")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--surfaces", action="store_true", help="mesh and grid, on a simulated drive")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of those drives")
    args = parser.parse_args()
    if args.frames < 1:
        parser.error("--frames must be above 0")
    if args.surfaces:
        print(f"{machine(torch.device('cpu'))}; one thread, its own time")
        print_surfaces(args.seeds)
        return
    sources = {}
    for image_size in (504, 112):
        source = reconstruction(image_size)
        sources["{1} x {0}".format(*source.depth.shape)] = source
    print(f"{machine(torch.device('cpu'))}; output {SIZE[1]} x {SIZE[0]}, from maps of")
    print_conversions(sources, args.frames)


if __name__ == "__main__":
    main()
