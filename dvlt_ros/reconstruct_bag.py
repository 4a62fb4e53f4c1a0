"""A bag, a video or a folder of images as a map, without ROS: the node's mapper, every frame, always the same result.

    ros2 run dvlt_ros dvlt_reconstruct_bag recording.mcap --output out
    python -m dvlt_ros.reconstruct_bag photos/ --weights nvidia/dvlt
    python -m dvlt_ros.reconstruct_bag photos/ --odom camera_poses.txt

Leaves in the output folder: map_N.ply, trajectory_N.txt (TUM format) and page_N.png of every map N, depth/ (one TIFF
per frame, named by its stamp) and recording/ (MCAP with the node's topics), all as the last closed loop has left them;
with --export also scene_N/ for COLMAP, nerfstudio or splat viewers.
Lengths are metres with odometry, measured depth or several cameras of the bag, else up to one unknown factor; frames
whose metres are not known even so are in files that begin with unscaled_.
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
from .mapping.config import MapperConfig
from .mapping.data.frames import Frame, Picture
from .mapping.inference.loading import load_predictor
from .mapping.mapper import Mapper
from .offline.options import add_options, from_options, with_new_names
from .offline.results import RECORDING, Results
from .offline.saved_maps import check_places, load_map, save_map
from .offline.scenes import add_export_option
from .offline.sensors import add_sensor_options, open_images, open_sensors, set_camera_names
from .offline.summary import cameras_of, gravity_of, lengths_of, loops_of, refusals_of, relocalization_of
from .sources import Source, SourceImage

MOST_REFUSALS = 10  # that are kept for the last line
WITHOUT = (
    "budget.latency_ms", "window.max_wait_s",  # here no time passes
    "model.name", "model.weights", "model.device",  # they have short options
    "cameras.names",  # from --cameras
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    try:
        run(args)
    except DvltError as error:
        sys.exit(f"dvlt_reconstruct_bag: {error}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dvlt_reconstruct_bag", description="A bag, a video or a folder of images as a map."
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
    add_export_option(parser)
    parser.add_argument("--points-stride", type=int, default=2, help="of the recording's points (default: 2)")
    parser.add_argument("--save-map", type=Path, metavar="DIR", help="also save it as the node's ~/save_map does")
    parser.add_argument(
        "--load-map", type=Path, metavar="PATH", help="find the recording in a saved map (or the newest of a folder)"
    )
    add_sensor_options(parser)
    add_options(parser, MapperConfig, without=WITHOUT)
    words, warnings = with_new_names(sys.argv[1:] if argv is None else argv, parser._option_string_actions)
    for warning in warnings:
        print(f"reconstruct_bag: {warning}", file=sys.stderr)
    return parser.parse_args(words)


def run(args: argparse.Namespace) -> None:
    set_camera_names(args)
    config = from_options(MapperConfig, args)
    if args.source.resolve().is_relative_to((args.output / RECORDING).resolve()):
        raise DataError(f"{args.source}: it would be replaced; choose another --output")
    source = open_images(args)
    for remark in source.remarks:
        tqdm.write(remark)
    refusals: list[str] = []

    def notify(text: str) -> None:
        tqdm.write(text)
        if " refused: " in text and len(refusals) < MOST_REFUSALS:
            refusals.append(text)

    recorded = open_sensors(args, config, source, notify)
    predictor = load_predictor(config.model)
    start_s = time.perf_counter()
    stride = None if args.no_recording else args.points_stride
    with Results(args.output, stride, args.rrd, recorded, args.export) as results:
        mapper = Mapper(config, predictor, recorded.sensors, notify, clock_ns=lambda: 0, ended=results.map_ended)
        with closing(mapper):
            reconstruct(mapper, source, results, args.load_map, args.save_map)
    counts, refused = mapper.counters.read(), refusals_of(source, mapper, refusals)
    if not counts.published:
        raise DataError(f"{args.source}: nothing was reconstructed of {len(source)} images; {refused}")
    print(
        f"{counts.published} frames in {time.perf_counter() - start_s:.1f} s on {predictor.device}, "
        f"{counts.passed_over} passed over, {counts.dropped} dropped, "
        f"{refused}; {cameras_of(source)}{gravity_of(mapper)}{relocalization_of(mapper)}"
        f"maps: {results.num_maps}, {lengths_of(results, recorded, mapper)}; {loops_of(mapper)}; see {args.output}"
    )


def reconstruct(mapper: Mapper, source: Source, results: Results, load: Path | None, save: Path | None) -> None:
    """Every image into the mapper, every update into the results."""
    if save is not None:
        check_places(mapper, f"--save-map {save}")
    if load is not None:
        tqdm.write(load_map(mapper, load))
    for image in tqdm(source, unit="frame", disable=None):
        if (update := mapper.add(frame_of(image))) is not None:
            results.add(update)
    for update in mapper.finish():
        results.add(update)
    if save is not None:
        tqdm.write(save_map(mapper, save))


def frame_of(image: SourceImage) -> Frame:
    """It arrives when it was taken: nothing is waited for longer than the recording tells."""
    return Frame(image.stamp_ns, image.frame_id, image.stamp_ns, partial(picture, image), image.camera)


def picture(image: SourceImage) -> Picture:
    view = image.view.pinhole()
    return Picture(view.image, None if view.lens is None else view.lens.intrinsics)


if __name__ == "__main__":
    main()
