"""Two saved maps as one, without a recording.

    dvlt_merge_maps maps/map_20260101_100000_0 maps/map_20260102_100000_0 --output maps

The second one is moved as a whole to where its places are in the first one. What it leaves is what ~/save_map does, but
for mesh and grid, whose depth is not kept in saved maps.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from . import programs
from .errors import ConfigError, DvltError, InputError
from .mapping.inference.config import ModelConfig
from .mapping.inference.loading import load_predictor
from .mapping.inference.prediction import PlaceRecognizer
from .mapping.inference.refining import RefiningPredictor
from .mapping.loops.config import LoopsConfig
from .mapping.map_files import PLACES, open_map, save_map
from .mapping.maps.saved_map import SavedMap
from .mapping.merging import merge


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    try:
        print(run(args.first, args.second, args.output, ModelConfig(weights=args.weights, device=args.device)))
    except DvltError as error:
        sys.exit(f"dvlt_merge_maps: {error}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dvlt_merge_maps", description="Two saved maps as one.")
    for name, said in (("first", "stays where it is"), ("second", "is moved")):
        parser.add_argument(name, type=Path, help=f"saved map (*{PLACES}), or the newest of a folder; it {said}")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the merged map")
    parser.add_argument("--weights", default="", help="checkpoint that both maps were made with (default: embedded)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    return parser


def run(first: Path, second: Path, output: Path, model: ModelConfig) -> str:
    """Returns what to say. Raises DvltError: they cannot be read, or not be joined; nothing is written then."""
    recognizer = load_predictor(model)
    if not isinstance(recognizer, PlaceRecognizer):
        raise ConfigError(f"model {model.name} does not recognize places")
    known, moved = (_opened(path, recognizer.checkpoint) for path in (first, second))
    merged = merge(known, moved, cast(PlaceRecognizer, RefiningPredictor(recognizer, math.inf)), LoopsConfig())
    path = save_map(merged.snapshot, merged.stored, output, known.checkpoint, known.is_metric)
    unit = "m" if known.is_metric else "units of the first map"
    return (
        f"joined by {merged.num_places} places, which differ by {merged.spread:.3f} {unit} (median): "
        f"{path.with_suffix(PLACES)}"
    )


def _opened(path: Path, checkpoint: str) -> SavedMap:
    path = path.expanduser()
    folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
    try:
        return open_map(folder, name, checkpoint, None)[1]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


if __name__ == "__main__":
    programs.run(main)
