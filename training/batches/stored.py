"""Rendered windows on disk: kept between runs, and rendered by a second process while training goes on.

    python -m dvlt_ros.training.batches.stored FOLDER --windows 4000 --views 6 --size 168x126
    python -m dvlt_ros.training.batches.stored OTHER --first 4000 --windows 8000    # none that the first run has seen

A folder holds ``windows.json`` and chunks of eight windows. A chunk appears whole or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dvlt_ros import programs
from dvlt_ros.benchmark import parse_count, parse_image_size
from dvlt_ros.errors import DataError, DvltError

from ..data.types import Views
from ..synthetic import Photos, SyntheticConfig, compiled_renderer, load_atlas, sample_windows

CHUNK = 8  # windows of a file; a compiled renderer is compiled for this number alone
FORMAT = 1
INDEX = "windows.json"
GEOMETRY = ("world_from_cam", "intrinsics", "depth", "valid")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreSpec:
    """What the windows of a folder are; a folder of another kind is refused."""

    views: int  # of every window
    height: int  # pixels
    width: int
    photos: tuple[str, ...] = ()  # folders of photographs that dress surfaces
    format: int = FORMAT


class StoredWindows:
    """Windows of synthetic scenes in a folder, window i of seed i, without photometric augmentation.

    Raises:
        DataError: a folder of other windows, or one that cannot be read or written.
    """

    def __init__(self, folder: str | Path, spec: StoreSpec) -> None:
        self.folder, self.spec = Path(folder).expanduser(), spec
        self._ready: list[int] = []  # chunks in order of their numbers
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            differs = difference(self.folder / INDEX, asdict(self.spec))
        except OSError as cause:
            raise DataError(f"{self.folder}: windows cannot be kept here: {cause}") from cause
        if differs is not None:
            name, there, wanted = differs
            raise DataError(f"{self.folder}: holds windows with {name} {there}, not {wanted}")

    def __len__(self) -> int:
        """Windows that are there now."""
        return CHUNK * len(self._ready)

    def refresh(self, limit: int | None = None) -> int:
        """Looks for new chunks, those of seeds below ``limit``; how many windows there are."""
        names = (path.stem.removeprefix("chunk-") for path in self.folder.glob("chunk-*.safetensors"))
        numbers = sorted(int(name) for name in names if name.isdecimal())
        self._ready = [number for number in numbers if limit is None or CHUNK * (number + 1) <= limit]
        return len(self)

    def path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.safetensors"

    def place(self, index: int) -> tuple[int, int]:
        """Chunk and row of the window of this index among those that are there."""
        return self._ready[index // CHUNK], index % CHUNK

    def window(self, index: int, order: Tensor, images: bool = True) -> Views:
        """Views ``order`` (S,) of one window (1, S, ...); without images, these have no channels."""
        number, row = self.place(index)
        with opened(self.path(number)) as chunk:
            chosen = {name: chunk.get_slice(name)[row][order][None] for name in GEOMETRY}
            if images:
                pixels = chunk.get_slice("images")[row][order][None].float() / 255
            else:
                pixels = torch.empty(1, len(order), 0, self.spec.height, self.spec.width)
        chosen["depth"] = chosen["depth"].float()
        return Views(images=pixels, **chosen, is_synthetic=torch.ones(1, dtype=torch.bool))

    def images(self, number: int) -> Tensor:
        """All images (8, S, 3, H, W), uint8, of a chunk."""
        with opened(self.path(number)) as chunk:
            return chunk.get_tensor("images")

    def digest(self, number: int) -> str:
        """Of the images of a chunk, as it was written."""
        with opened(self.path(number)) as chunk:
            return chunk.metadata()["images"]

    def render(self, numbers: Sequence[int], render: Callable | None, photos: Photos | None) -> Iterator[int]:
        """Renders the chunks of these numbers that are not there, one after the other."""
        size, spec = (self.spec.height, self.spec.width), self.spec
        for number in numbers:
            if self.path(number).exists():
                continue
            seeds = range(CHUNK * number, CHUNK * (number + 1))
            windows = sample_windows(
                seeds, SyntheticConfig(augment=None), "cpu", None, spec.views, size, photos, render
            )
            self.write(number, windows)
            yield number

    def write(self, number: int, windows: Views) -> None:
        tensors = {name: getattr(windows, name).contiguous() for name in GEOMETRY}
        tensors["depth"] = tensors["depth"].half()
        tensors["images"] = (255 * windows.images).round().to(torch.uint8).contiguous()
        write_whole(self.path(number), tensors, {"images": tensor_digest(tensors["images"])})


def difference(path: Path, wanted: dict[str, Any]) -> tuple[str, object, object] | None:
    """Name, present and wanted value of the first entry of a folder's index that differs; a missing index is written.

    Raises:
        DataError: a file that is not JSON.
    """
    wanted = json.loads(json.dumps(wanted))  # lists for tuples, as in the file
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(wanted, indent=2) + "\n")
        os.replace(partial, path)
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as cause:
        raise DataError(f"{path}: not a readable JSON file: {cause}") from cause
    for name, value in wanted.items():
        there = found.get(name) if isinstance(found, dict) else None
        if there != value:
            return name, there, value
    return None


def write_whole(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, partial, metadata=metadata)
        os.replace(partial, path)
    except (OSError, SafetensorError) as cause:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {cause}") from cause


def tensor_digest(*tensors: Tensor) -> str:
    """SHA-256 of the bytes of tensors and their shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def opened(path: Path) -> Any:
    """A safetensors file, memory-mapped, to read parts of."""
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as cause:
        raise DataError(f"{path}: not a readable chunk of windows: {cause}") from cause


def render_beside(store: StoredWindows, windows: int, compiled: bool) -> subprocess.Popen[bytes]:
    """Starts the second process; it ends when all windows are there, or with this one."""
    size = f"{store.spec.width}x{store.spec.height}"
    command = [
        sys.executable, "-m", __spec__.name, str(store.folder), "--windows", str(windows), "--size", size,
        "--views", str(store.spec.views), "--parent", str(os.getpid()), *(["--compiled"] if compiled else []),
        *(part for folder in store.spec.photos for part in ("--photos", folder)),
    ]  # fmt: skip
    logger.info("rendering %d windows into %s in a process of its own", windows, store.folder)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Render windows of synthetic scenes into a folder, for training.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=parse_count, required=True, help="in all; those that are there are kept")
    parser.add_argument("--first", type=int, default=0, help="window to begin with, a multiple of 8: its seed")
    parser.add_argument("--views", type=parse_count, default=6, help="of every window")
    parser.add_argument("--size", type=parse_image_size, default=(168, 126), help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--photos", action="append", default=[], help="folder of photographs that dress surfaces")
    parser.add_argument("--compiled", action="store_true", help="minutes to start, then several times faster")
    parser.add_argument("--threads", type=parse_count, default=1, help="of PyTorch")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # ends when that process has
    args = parser.parse_args(argv)
    try:
        torch.set_num_threads(args.threads)
        spec = StoreSpec(args.views, args.size[1], args.size[0], tuple(args.photos))
        store = StoredWindows(args.folder, spec)
        photos = Photos(load_atlas(spec.photos)) if spec.photos else None
        if not 0 <= args.first < args.windows or args.first % CHUNK:
            raise DataError(f"--first must be a multiple of {CHUNK} below --windows {args.windows}, got {args.first}")
        numbers = range(args.first // CHUNK, -(-args.windows // CHUNK))
        for number in store.render(numbers, compiled_renderer() if args.compiled else None, photos):
            print(f"{args.folder}: {CHUNK * (number + 1)} of {args.windows} windows", flush=True)
            if args.parent is not None and os.getppid() != args.parent:
                return
    except DvltError as error:
        raise SystemExit(f"stored: {error}") from error


if __name__ == "__main__":
    programs.run(main)
