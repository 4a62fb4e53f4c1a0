"""A bag, a video or a folder of images as a map, without ROS: the node's engine, every frame, always the same result.

    ros2 run dvlt_ros reconstruct_bag recording.mcap --output out
    python -m dvlt_ros.reconstruct_bag photos/ --weights nvidia/dvlt
    python -m dvlt_ros.reconstruct_bag photos/ --odom camera_poses.txt

Leaves in the output folder: map_N.ply, trajectory_N.txt (TUM format) and page_N.png of every map N, depth/ (one TIFF
per frame, named by its stamp) and recording/ (MCAP with the node's topics), all as the last closed loop has left them.
Lengths are metres with the odometry of the bag, else up to one unknown factor; frames whose metres are not known even
so are in files that begin with unscaled_.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .backends import DEFAULT_MODEL, model_names
from .errors import DataError, DvltError
from .lens import rectification
from .mapping.config import MapperConfig
from .mapping.data.frames import Frame, Picture
from .mapping.inference.loading import load_predictor
from .mapping.mapper import Mapper
from .mapping.sensors.odometry import OdometryConfig
from .mapping.sensors.suite import Sensors
from .offline.odometry import CameraOdometry
from .offline.options import add_options, from_options
from .offline.results import RECORDING, Results
from .offline.summary import cameras_of, lengths_of, loops_of
from .sources import SourceImage, open_source
from .sources.odometry import open_odometry
from .sources.open import FRAME_ID, is_bag

WITHOUT = (
    "budget.latency_ms", "window.max_wait_s",  # here no time passes
    "model.name", "model.weights", "model.device",  # they have short options
    "cameras.", "measured_depth.", "gravity.",  # a bag has one camera, and odometry
)  # fmt: skip


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
    parser.add_argument(
        "--model", dest="model_name", choices=model_names(), default=DEFAULT_MODEL, help=f"default: {DEFAULT_MODEL}"
    )
    parser.add_argument(
        "--weights", dest="model_weights", default="", help="checkpoint (default: the model's own; dvlt's is embedded)"
    )
    parser.add_argument("--device", dest="model_device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--no-recording", action="store_true", help="leave out the MCAP recording")
    parser.add_argument("--rrd", type=Path, help="also write this file for Rerun (extra: rerun)")
    parser.add_argument("--points-stride", type=int, default=2, help="of the recording's points (default: 2)")
    parser.add_argument(
        "--odom", default="auto", metavar="auto|none|tf|TOPIC|FILE",
        help="where metres come from: a topic of the bag, its TF, or a TUM file of the camera's poses; "
        "auto: the bag's only odometry topic, else TF (default: auto)",
    )  # fmt: skip
    parser.add_argument("--odom-frame", default="odom", help="of odometry in TF or a file (default: odom)")
    parser.add_argument(
        "--camera-frame",
        default=FRAME_ID,
        help=f"optical frame of images that come without a frame_id; others keep theirs (default: {FRAME_ID})",
    )
    add_options(parser, MapperConfig, without=WITHOUT)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    config = from_options(MapperConfig, args)
    if args.source.resolve().is_relative_to((args.output / RECORDING).resolve()):
        raise DataError(f"{args.source}: it would be replaced; choose another --output")
    source = open_source(args.source, topic=args.topic, rate_hz=args.rate_hz, frame_id=args.camera_frame)
    odometry = find_odometry(args, config.odometry, next(iter(source)).frame_id)
    predictor = load_predictor(config.model)
    sensors = Sensors(odometry=None if odometry is None else odometry.camera)
    start_s = time.perf_counter()
    stride = None if args.no_recording else args.points_stride
    with Results(args.output, stride, args.rrd, odometry) as results:
        mapper = Mapper(config, predictor, sensors, tqdm.write, clock_ns=lambda: 0, ended=results.map_ended)
        with closing(mapper):
            for image in tqdm(source, unit="frame", disable=None):
                if (update := mapper.add(frame_of(image))) is not None:
                    results.add(update)
            for update in mapper.finish():
                results.add(update)
    counts = mapper.counters.read()
    print(
        f"{counts.published} frames in {time.perf_counter() - start_s:.1f} s on {predictor.device}, "
        f"{counts.passed_over} passed over, {counts.dropped} dropped, "
        f"{counts.refused + source.refusals.count} refused; {cameras_of(source)}"
        f"maps: {results.num_maps}, {lengths_of(results, odometry, mapper)}; {loops_of(mapper)}; see {args.output}"
    )


def find_odometry(args: argparse.Namespace, config: OdometryConfig, camera_frame: str) -> CameraOdometry | None:
    """None: metres are not asked for, or nobody tells them.

    Raises:
        DataError: what is asked for by its name cannot be used.
    """
    if args.odom == "none" or (args.odom == "auto" and not is_bag(args.source)):
        return None
    try:
        recorded = open_odometry(args.source, args.odom, args.odom_frame, camera_frame)
        return CameraOdometry(recorded, config, tqdm.write)
    except DataError as error:
        if args.odom != "auto":
            raise
        tqdm.write(f"no odometry, so no metres: {error}")
        return None


def frame_of(image: SourceImage) -> Frame:
    return Frame(image.stamp_ns, image.frame_id, 0, partial(picture, image))


def picture(image: SourceImage) -> Picture:
    if image.lens is None:
        return Picture(image.image, None)
    if not image.lens.is_distorted:
        return Picture(image.image, image.lens.intrinsics)
    pinhole = rectification(image.lens)
    return Picture(pinhole.image(image.image), pinhole.intrinsics)


if __name__ == "__main__":
    main()
