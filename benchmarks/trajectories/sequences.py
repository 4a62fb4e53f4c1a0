"""Posed RGB-D sequences for ``real_trajectory.py``: a folder of recorded frames, or a rendered room."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from registration_drift import turned

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.reconstruct_bag import frame_of
from dvlt_ros.sources import SourceImage
from dvlt_ros.training.data.readers.layouts import open_dataset
from dvlt_ros.training.data.sequence import rigid_pose
from dvlt_ros.training.synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows

FAMILIES = ("room", "corridor", "warehouse", "tabletop")


@dataclass(frozen=True, eq=False)
class Recording:
    """Frames with the truth."""

    name: str
    stamps_ns: np.ndarray  # (N,) int64
    images: list[np.ndarray]  # (H, W, 3) uint8 RGB
    depths: list[np.ndarray]  # (H, W) float32 metres, 0 where unknown
    intrinsics: np.ndarray  # (3, 3), pixel (0, 0) centred at (0.5, 0.5)
    world_from_cam: np.ndarray  # (N, 4, 4), metres

    def __len__(self) -> int:
        return len(self.images)

    def frames(self) -> Iterator[Frame]:
        """As a camera would give them to a mapper."""
        height, width = self.images[0].shape[:2]
        (fx, _, cx), (_, fy, cy) = self.intrinsics[:2]
        lens = Lens(fx, fy, cx, cy, (height, width), source=self.name)
        for stamp_ns, image in zip(self.stamps_ns.tolist(), self.images, strict=True):
            yield frame_of(SourceImage(stamp_ns, "camera", image, lens))


def from_folder(folder: Path, intrinsics: Sequence[float] | None, rate_hz: float, last: int | None) -> Recording:
    """The first sequence in a folder that training reads, too.

    Raises:
        DataError: nothing usable there.
    """
    options: dict[str, Any] = {} if intrinsics is None else {"intrinsics": tuple(intrinsics)}
    sequence = open_dataset(folder, frames=(0, last), **options)[0]
    frames = [sequence.frame(index) for index in range(len(sequence))]
    stamps_ns = np.round((1 + np.arange(len(frames))) * 1e9 / rate_hz).astype(np.int64)
    return Recording(
        sequence.name, stamps_ns, [frame.image for frame in frames], [frame.depth for frame in frames],
        frames[0].intrinsics, np.stack([frame.world_from_cam for frame in frames]),
    )  # fmt: skip


def rendered(family: str, seed: int, num_frames: int, rate_hz: float, size: tuple[int, int]) -> Recording:
    """A path through a room of the benchmark's kind, which training never sees, in clean light.

    Raises:
        DataError: no such family.
    """
    if family not in FAMILIES:
        raise DataError(f"synthetic sequences are one of {FAMILIES}, got {family!r}")
    config = SyntheticConfig(views=num_frames, split="benchmark", height=size[0], width=size[1], augment=None)
    views = sample_windows([BENCHMARK_SEED + seed], config, families=[family])
    images = [(255 * image.permute(1, 2, 0)).round().byte().numpy() for image in views.images[0]]
    stamps_ns = np.round((1 + np.arange(num_frames)) * 1e9 / rate_hz).astype(np.int64)
    poses = np.stack([rigid_pose(pose.numpy(), family) for pose in views.world_from_cam[0]])
    return Recording(
        f"{family}_{seed}", stamps_ns, images, list((views.depth[0] * views.valid[0]).numpy()),
        views.intrinsics[0, 0].double().numpy(), poses,
    )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser, frames: int, size: tuple[int, int], rate_hz: float) -> None:
    """Options that name recordings, for `recordings`."""
    parser.add_argument("--folder", type=Path, help="posed RGB-D frames, in a layout that training reads")
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="of the folder")
    parser.add_argument("--synthetic", nargs="*", default=[], metavar="FAMILY:SEED", help=f"one of {FAMILIES}")
    parser.add_argument(
        "--frames", type=int, default=frames, help=f"of each; a folder's first ones (default: {frames})"
    )
    parser.add_argument("--size", type=int, nargs=2, default=size, metavar=("H", "W"), help="of rendered frames")
    parser.add_argument("--rate-hz", type=float, default=rate_hz)


def recordings(args: argparse.Namespace) -> list[Recording]:
    """What these options name. Raises DataError: as of `from_folder` and `rendered`."""
    named = [(family, int(seed or 0)) for family, _, seed in (name.partition(":") for name in args.synthetic)]
    found = [rendered(*name, args.frames, args.rate_hz, tuple(args.size)) for name in named]
    if args.folder is not None:
        found.append(from_folder(args.folder, args.intrinsics, args.rate_hz, args.frames))
    return found


def drifting(world_from_cam: np.ndarray, drift: float, seed: int = 0) -> np.ndarray:
    """Odometry (N, 4, 4): rotation and position walk at random, by ``drift`` rad and m per root metre.

    It begins with the first true pose; with 0 it is the truth.
    """
    rng = np.random.default_rng(seed)
    odom_from_cam = [world_from_cam[0]]
    for before, after in pairwise(world_from_cam):
        step = inverse(before) @ after
        spread = drift * np.sqrt(np.linalg.norm(step[:3, 3]))
        step[:3, :3] = step[:3, :3] @ turned(torch.from_numpy(spread * rng.normal(size=3))).numpy()
        step[:3, 3] += spread * rng.normal(size=3)
        odom_from_cam.append(odom_from_cam[-1] @ step)
    return np.stack(odom_from_cam)
