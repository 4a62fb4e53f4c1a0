"""A network as ONNX graphs, for ONNX Runtime and TensorRT.

    ros2 run dvlt_ros dvlt_export --output graphs
    ros2 run dvlt_ros dvlt_export nvidia/dvlt --size 504x378 --precision float16 --output graphs

The folder has one graph per stage, for one image size and any number of views and steps; docs/how-to/export.md has
their inputs and outputs. They are compared with the network before anything is written. The node runs them with
`model.runtime:=onnxruntime model.weights:=graphs`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from .. import programs
from ..checkpoints import EMBEDDED_WEIGHTS
from ..errors import DvltError
from ..model import Dvlt
from ..model.config import PATCH_SIZE
from ..model.stages import Looped
from ..model.weights import digest_of
from .graphs import demo_pictures, export_graphs
from .onnx_dvlt import OnnxDvlt

REPEATS = 3


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    try:
        run(args)
    except DvltError as error:
        sys.exit(f"dvlt_export: {error}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dvlt_export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint", nargs="?", default="", help="directory, .safetensors file or Hugging Face id (default: embedded)"
    )
    parser.add_argument("--output", type=Path, required=True, help="new or empty folder for the graphs")
    parser.add_argument("--format", choices=("onnx",), default="onnx")
    parser.add_argument("--size", type=size, metavar="WxH", help="of the images (default: the checkpoint's own, 4:3)")
    parser.add_argument("--precision", choices=("float32", "float16", "int8"), default="float32")
    parser.add_argument("--views", type=int, default=8, help="of the window that is timed at the end (default: 8)")
    args = parser.parse_args(argv)
    if args.views < 1:
        parser.error(f"--views must be 1 or more, got {args.views}")
    return args


def size(text: str) -> tuple[int, int]:
    """(width, height) in pixels."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, got {text!r}")
    return int(found[1]), int(found[2])


def run(args: argparse.Namespace) -> None:
    model = Dvlt.from_pretrained(args.checkpoint or None)
    width, height = args.size or own_size(model)
    checkpoint = digest_of(args.checkpoint or EMBEDDED_WEIGHTS)
    worst = export_graphs(model, args.output, width, height, args.precision, checkpoint)
    graphs, images = OnnxDvlt(args.output), demo_pictures(args.views, width, height)
    print(f"{args.output}: {width} x {height} pixels, {args.precision}, relative error to the model {worst:.1e}")
    print(
        f"a window of {args.views} views, K = {model.config.num_steps}, on this CPU: PyTorch "
        f"{time_ms(model, images):.0f} ms, these graphs {time_ms(graphs, images):.0f} ms"
    )


def own_size(model: Dvlt) -> tuple[int, int]:
    """(width, height) of a picture of 4:3."""
    width = model.config.image_size
    return width, PATCH_SIZE * round(0.75 * width / PATCH_SIZE)


def time_ms(model: Looped, images: torch.Tensor) -> float:
    """Median of a few windows after a first one, all stages."""
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(1 + REPEATS):
            start_s = time.perf_counter()
            model.decode(model.run(model.begin(model.encode(images)), model.config.num_steps))
            times.append(1e3 * (time.perf_counter() - start_s))
    return statistics.median(times[1:])


if __name__ == "__main__":
    programs.run(main)
