"""A bag, a video or a folder of images as a map, without ROS: the node's engine, every frame, always the same result.

    ros2 run dvlt_ros reconstruct_bag recording.mcap --output out
    python -m dvlt_ros.reconstruct_bag photos/ --weights nvidia/dvlt

Leaves in the output folder: map_N.ply, trajectory_N.txt (TUM format) and page_N.png of every map N, depth/ (one TIFF
per frame, named by its stamp) and recording/ (MCAP with the node's topics). Lengths are up to one unknown factor.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .engine.config import EngineConfig
from .engine.engine import Engine, WindowResult
from .engine.frames import Frame, Picture
from .engine.loading import load_predictor
from .engine.predictor import choose_device
from .errors import DvltError
from .lens import rectification
from .models import DEFAULT_MODEL, model_names
from .results import Results
from .sources import SourceImage, open_source


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    try:
        run(args)
    except DvltError as error:
        sys.exit(f"reconstruct_bag: {error}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="reconstruct_bag", description="A bag, a video or a folder of images as a map."
    )
    parser.add_argument("source", type=Path, help="MCAP or db3 bag, video, or folder of images")
    parser.add_argument("--output", type=Path, default=Path("reconstruction"), help="folder (default: reconstruction)")
    parser.add_argument("--topic", help="image topic of a bag, where there are several")
    parser.add_argument("--rate-hz", type=float, default=10.0, help="of images without stamps (default: 10)")
    parser.add_argument("--model", choices=model_names(), default=DEFAULT_MODEL, help=f"default: {DEFAULT_MODEL}")
    parser.add_argument("--weights", default="", help="checkpoint (default: the model's own; dvlt's is embedded)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--no-recording", action="store_true", help="leave out the MCAP recording")
    parser.add_argument("--rrd", type=Path, help="also write this file for Rerun (extra: rerun)")
    parser.add_argument("--points-stride", type=int, default=2, help="of the recording's points (default: 2)")
    for field in fields(EngineConfig):
        if field.name not in ("latency_budget_ms", "max_wait_s"):  # of time that passes; here none does
            option = f"--{field.name.replace('_', '-')}"
            parser.add_argument(
                option, type=type(field.default), default=field.default, metavar=type(field.default).__name__,
                help=f"{field.metadata['description'].replace('%', '%%')} (default: {field.default})",
            )  # fmt: skip
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    config = EngineConfig(**{f.name: getattr(args, f.name) for f in fields(EngineConfig) if hasattr(args, f.name)})
    source = open_source(args.source, topic=args.topic, rate_hz=args.rate_hz)
    predictor = load_predictor(args.model, args.weights, choose_device(args.device), config.image_rotation)
    engine = Engine(predictor, config, notify=tqdm.write, clock_ns=lambda: 0)
    start_s = time.perf_counter()
    stride = None if args.no_recording else args.points_stride
    with Results(args.output, config, stride, args.rrd) as results:
        for window in windows(engine, iter(tqdm(source, unit="frame", disable=None))):
            for reconstruction in window.reconstructions:
                results.add(reconstruction)
            engine.counters.add(published=len(window.reconstructions))
    counts = engine.counters.read()
    print(
        f"{counts.published} frames in {time.perf_counter() - start_s:.1f} s on {predictor.device}, "
        f"{counts.passed_over} passed over, {counts.dropped} dropped, "
        f"{counts.refused + source.refusals.count} refused; "
        f"maps: {results.num_maps}, with lengths up to one unknown factor each; see {args.output}"
    )


def windows(engine: Engine, source: Iterator[SourceImage]) -> Iterator[WindowResult]:
    """Full windows, and what is left at the end: nothing is dropped, no clock decides."""
    for image in source:
        engine.admit(Frame(image.stamp_ns, image.frame_id, 0, partial(picture, image)))
        if engine.is_full() and (window := engine.run()) is not None:
            yield window
    while (window := engine.run(flush=True)) is not None:
        yield window


def picture(image: SourceImage) -> Picture:
    if image.lens is None:
        return Picture(image.image, None)
    if not image.lens.is_distorted:
        return Picture(image.image, image.lens.intrinsics)
    pinhole = rectification(image.lens)
    return Picture(pinhole.image(image.image), pinhole.intrinsics)


if __name__ == "__main__":
    main()
