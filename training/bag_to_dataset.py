"""Turns a robot's recording into a training sequence: colour, depth, cameras and poses of a bag.

    ros2 run dvlt_ros dvlt_bag_to_dataset BAG OUT
    python -m dvlt_ros.training.bag_to_dataset BAG OUT

Needs no ROS. OUT is a folder in nerfstudio's layout (transforms.json, images/, depth/ in millimetres) with a
report.json of what was kept and why the rest was not. What cannot be looked up is left out, never assumed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dvlt_ros import programs
from dvlt_ros.errors import DataError, DvltError
from dvlt_ros.sources.recording import open_recording

from .data.bag_frames import BagOptions, BagReport, plan, read_frames
from .data.rig import Topics, read_rig
from .data.writer import SequenceWriter


def convert(bag: str | Path, out: str | Path, options: BagOptions | None = None) -> BagReport:
    """Writes a recording as a sequence; the report also lies in it.

    Raises:
        DataError: no usable recording, a name that is taken, or not one frame to keep.
        ImportError: rosbags is not installed.
    """
    options = options or BagOptions()
    report = BagReport(str(bag))
    with (
        SequenceWriter(out, options.overwrite, options.image_format) as writer,
        open_recording(bag) as recording,
    ):
        rig = read_rig(recording, options.topics, options.world_frame, options.camera_frame, options.rectified)
        report.topics, report.world_frame, report.camera_frame = rig.topics, rig.world_frame, rig.camera_frame
        candidates = plan(recording, rig, options, report)
        frames = read_frames(recording, rig, options, candidates, report)
        for candidate, frame in tqdm(frames, total=len(candidates), unit="frame", disable=None):
            if frame is not None:
                writer.add(frame, candidate.stamp_ns)
        report.kept = len(writer)
        if not report.kept:
            raise DataError(f"{bag}: none of {report.images} images can be kept:\n{report.table()}")
        writer.add_json("report.json", report.as_dict())
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 and one line on stderr for what cannot be done."""
    values = vars(_parser().parse_args(arguments))
    bag, out = values.pop("bag"), values.pop("out")
    topics = Topics(**{name: values.pop(f"{name}_topic") for name in Topics.__dataclass_fields__})
    try:
        print(convert(bag, out, BagOptions(topics=topics, **values)).table())
    except (DvltError, ImportError) as error:
        print(f"dvlt_bag_to_dataset: {error}", file=sys.stderr)
        return 1
    print(f"written to {out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    default = BagOptions()
    parser = argparse.ArgumentParser(prog="dvlt_bag_to_dataset", description="A recording as a training sequence.")
    parser.add_argument("bag", help="bag folder, or a single .mcap or .db3 file")
    parser.add_argument("out", help="folder to write")
    topics = parser.add_argument_group("topics", "found where only one fits")
    topics.add_argument("--image-topic", help="colour, Image or CompressedImage")
    topics.add_argument("--depth-topic", help="32FC1 metres, 16UC1 millimetres, or compressedDepth PNG")
    topics.add_argument("--camera-info-topic", help="of the colour camera; found beside the image topic")
    topics.add_argument("--depth-camera-info-topic", help="found beside the depth topic, else the colour camera's")
    topics.add_argument("--odom-topic", dest="odometry_topic", help="poses from this odometry instead of TF")
    frames = parser.add_argument_group("frames")
    frames.add_argument("--world-frame", "--tf-frame", help="found: the top of the TF tree, or odometry's frame")
    frames.add_argument("--camera-frame", help="optical frame of the colour camera; found: the images' frame_id")
    frames.add_argument("--rectified", action="store_true", help="the images are image_rect, the camera is P")
    kept = parser.add_argument_group("what is kept")
    for name, unit, text in (
        ("max_time_difference", "s", "seconds between an image and its depth image"),
        ("max_gap", "s", "seconds between two transforms that are interpolated"),
        ("min_translation", "m", "metres from the last frame kept, or"),
        ("min_rotation", "deg", "degrees from it"),
    ):
        parameter = f"{name}_{unit}"
        help_text, option = f"{text} (default: %(default)s)", "--" + name.replace("_", "-")
        kept.add_argument(option, dest=parameter, type=float, default=getattr(default, parameter), help=help_text)
    kept.add_argument("--max-frames", type=int, help="at most so many, evenly spaced")
    kept.add_argument("--image-format", choices=("png", "jpg"), default=default.image_format)
    kept.add_argument("--overwrite", action="store_true", help="replace a sequence of that name")
    return parser


if __name__ == "__main__":
    programs.run(main)
