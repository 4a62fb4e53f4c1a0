"""A bag, a video or a folder of images as a map, without ROS: the node's mapper, every frame, always the same result.

    ros2 run dvlt_ros dvlt_reconstruct_bag recording.mcap --output out
    python -m dvlt_ros.reconstruct_bag photos/ --weights nvidia/dvlt
    python -m dvlt_ros.reconstruct_bag photos/ --odom camera_poses.txt

Leaves in the output folder: map_N.ply, mesh_N.ply, mesh_N.glb, voxels_N.bt (OctoMap), grid_N.pgm with its YAML,
trajectory_N.txt (TUM format) and page_N.png of every map N, depth/ (one TIFF per frame, named by its stamp) and
recording/ (MCAP with the node's topics), all as the last closed loop has left them;
with --export also scene_N/ for COLMAP, nerfstudio or splat viewers.
Lengths are metres with odometry, measured depth or several cameras of the bag, else up to one unknown factor; frames
whose metres are not known even so are in files that begin with unscaled_.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from . import programs
from .backends import DEFAULT_MODEL, checkpoint_title, model_names
from .errors import DataError, DvltError, one_line
from .mapping.config import MapperConfig
from .mapping.data.frames import Frame, Picture
from .mapping.inference.loading import load_predictor
from .mapping.inference.prediction import Predictor
from .mapping.map_files import SurfaceFiles
from .mapping.mapper import Mapper
from .offline.disk import check_disk
from .offline.in_memory import SceneBuilder
from .offline.options import add_options, asked_for, from_options, with_new_names
from .offline.results import RECORDING, OutputOptions, Results
from .offline.saved_maps import add_hint_option, beginning, check_loaded, check_places, save_map
from .offline.scenes import add_export_option
from .offline.sensors import add_sensor_options, open_images, open_sensors, set_camera_names
from .offline.summary import cameras_of, gravity_of, lengths_of, loops_of, refusals_of, relocalization_of
from .photos import LONGEST_EDGE, OnCanvas
from .photos.windows import for_photos
from .sources import Source, SourceImage
from .sources.images import MAX_LISTED

MOST_SAID = 20  # images that were refused; all are in refused.txt
WITHOUT = (
    "budget.latency_ms", "window.max_wait_s",  # here no time passes
    "model.name", "model.weights", "model.device",  # they have short options
    "cameras.names",  # from --cameras
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    try:
        said, _ = run(args)
    except DvltError as error:
        sys.exit(f"dvlt_reconstruct_bag: {error}")
    print(f"{said}; see {args.output}")


def parse(
    argv: Sequence[str] | None, kind: type[argparse.ArgumentParser] = argparse.ArgumentParser
) -> argparse.Namespace:
    """The command line, read by a parser of this kind; old names of options are replaced with a warning."""
    parser = arguments(kind)
    words, warnings = with_new_names(sys.argv[1:] if argv is None else argv, parser._option_string_actions)
    for warning in warnings:
        print(f"reconstruct_bag: {warning}", file=sys.stderr)
    return parser.parse_args(words)


def arguments(kind: type[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = kind(
        prog="dvlt_reconstruct_bag", description="A bag, a video or a folder of images as a map.", allow_abbrev=False
    )
    parser.add_argument("source", type=Path, help="MCAP or db3 bag, video, or folder of images")
    parser.add_argument("--output", type=Path, default=Path("reconstruction"), help="folder (default: reconstruction)")
    parser.add_argument("--topic", help="image topic of a bag, where there are several")
    parser.add_argument(
        "--mask-topic", help="masks of a bag's images (default: the only topic called mask/image, in any namespace)"
    )
    parser.add_argument(
        "--camera-info", type=Path, metavar="YAML", help="calibration of the images, instead of a recorded one"
    )
    parser.add_argument(
        "--rate-hz", type=float,
        help="of a folder's images without times, which are a stream then; without it they are photos of one scene",
    )  # fmt: skip
    parser.add_argument(
        "--model", dest="model_name", choices=model_names(), default=DEFAULT_MODEL, help=f"default: {DEFAULT_MODEL}"
    )
    parser.add_argument(
        "--weights", dest="model_weights", default="", help="checkpoint (default: the model's own; dvlt's is embedded)"
    )
    parser.add_argument("--device", dest="model_device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--recording", action="store_true", help="also an MCAP with the node's topics")
    parser.add_argument(
        "--full-resolution", action="store_true",
        help="depth images and recording as large as the images, not as the network sees them; --export does so, too",
    )  # fmt: skip
    parser.add_argument("--rrd", type=Path, help="also write this file for Rerun (extra: rerun)")
    add_export_option(parser)
    parser.add_argument("--points-stride", type=int, default=2, help="of the recording's points (default: 2)")
    parser.add_argument("--save-map", type=Path, metavar="DIR", help="also save it as the node's ~/save_map does")
    parser.add_argument(
        "--load-map", type=Path, metavar="PATH", help="find the recording in a saved map (or the newest of a folder)"
    )
    add_hint_option(parser)
    add_sensor_options(parser)
    add_options(parser, MapperConfig, without=WITHOUT)
    return parser


def run(args: argparse.Namespace, scene: SceneBuilder | None = None) -> tuple[str, list[str]]:
    """What to say at the end, and every image that was refused, with its reason.

    Args:
        args: as `parse` has them; ``output`` may be None for no files.
        scene: gets what comes out, too.

    Raises:
        DvltError: nothing comes out; it says why.
    """
    set_camera_names(args)
    config = from_options(MapperConfig, args)
    check_loaded(config, args)
    if args.output is not None and args.source.resolve().is_relative_to((args.output / RECORDING).resolve()):
        raise DataError(f"{args.source}: it would be replaced; choose another --output")
    source = open_images(args)
    for remark in source.remarks:
        tqdm.write(one_line(remark))
    refused: list[str] = []

    def notify(text: str) -> None:
        text = one_line(text)
        tqdm.write(text)
        if " refused: " in text and len(refused) < MAX_LISTED:
            refused.append(text)

    recorded = open_sensors(args, config, source, notify)
    predictor = load_predictor(config.model)
    network = checkpoint_title(config.model.name, config.model.weights)
    tqdm.write(f"{network} on {predictor.device}")
    if not (source.has_times or recorded.sensors.tell_metres or args.load_map):
        source, config = together(source, config, predictor, asked_for(MapperConfig, args))
    is_full = args.full_resolution or bool(args.export)
    options = OutputOptions(network, args.recording, args.points_stride, args.rrd, is_full, args.export)
    if args.output is not None:
        tqdm.write(check_disk(args.output, len(source), output_size(source, config, predictor, options), options))
    start_s = time.perf_counter()
    if scene is not None:
        scene.is_metric = recorded.sensors.tell_metres
    with programs.interrupts_between_steps() as interrupted, Results(args.output, options, recorded, scene) as results:
        mapper = Mapper(config, predictor, recorded.sensors, notify, clock_ns=lambda: 0, ended=results.map_ended)
        results.surfaces = SurfaceFiles(mapper.surfaces, config.band)
        with closing(mapper):
            begin = beginning(mapper, args)
            reconstruct(mapper, source, results, begin, args.save_map, interrupted)
        for text in source.refusals.listed[:MOST_SAID]:
            tqdm.write(f"refused: {text}")
        every_refusal = [*source.refusals.listed, *refused]
        results.write_refusals(every_refusal)
    counts, said = mapper.counters.read(), refusals_of(source, mapper, refused)
    if not counts.published:
        raise DataError(f"{args.source}: nothing was reconstructed of {len(source)} images; {said}")
    ended = (
        f"{counts.published} frames in {time.perf_counter() - start_s:.1f} s on {predictor.device}, "
        f"{counts.passed_over} passed over, {counts.dropped} dropped, "
        f"{said}; {cameras_of(source)}{gravity_of(mapper)}{relocalization_of(mapper)}"
        f"maps: {results.num_maps}, {lengths_of(results, recorded, mapper, network)}; {loops_of(mapper)}"
    )
    return ended, every_refusal


def together(
    photos: Source, config: MapperConfig, predictor: Predictor, asked: set[str]
) -> tuple[OnCanvas, MapperConfig]:
    """Photos of one scene, all of one size, and the configuration of their windows; says what it has chosen."""
    edge = max(LONGEST_EDGE, config.model.image_size)
    source = OnCanvas(photos, edge, stands=config.model.image_rotation == "auto")
    config, said = for_photos(config, predictor, source.num_usable, source.canvas.size, asked)
    tqdm.write(said or f"{source.num_usable} photos of one scene, seen together")
    return source, config


def output_size(source: Source, config: MapperConfig, predictor: Predictor, options: OutputOptions) -> tuple[int, int]:
    """(height, width) of the depth images, about."""
    height, width = next(iter(source)).image.shape[:2]
    if options.full_resolution:
        return height, width
    scale = (config.model.image_size or predictor.image_size) / max(height, width)
    return round(scale * height), round(scale * width)


def reconstruct(
    mapper: Mapper, source: Source, results: Results, begin: Callable[[Frame], None], save: Path | None,
    interrupted: Callable[[], bool],
) -> None:  # fmt: skip
    """Every image into the mapper until it is interrupted, every update into the results; ``begin`` sees the first."""
    if save is not None:
        check_places(mapper, f"--save-map {save}")
    for count, image in enumerate(tqdm(source, unit="frame", disable=None)):
        if interrupted():
            tqdm.write(f"interrupted after {count} of {len(source)} images; what has become of them is written")
            break
        frame = frame_of(image)
        if count == 0:
            begin(frame)
        if (update := mapper.add(frame)) is not None:
            results.add(update)
    for update in mapper.finish():
        results.add(update)
    if save is not None:
        tqdm.write(save_map(mapper, save))


def frame_of(image: SourceImage) -> Frame:
    """It arrives when it was taken: nothing is waited for longer than the recording tells."""
    return Frame(image.stamp_ns, image.frame_id, image.stamp_ns, partial(picture, image), image.camera, image.name)


def picture(image: SourceImage) -> Picture:
    view = image.view.pinhole()
    return Picture(view.image, None if view.lens is None else view.lens.intrinsics, image.inside, image.masked)


if __name__ == "__main__":
    programs.run(main)
