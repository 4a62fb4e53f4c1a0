"""Posed RGB-D sequences for ``real_trajectory.py``: a folder of recorded frames, or a rendered room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from registration_drift import turned

from dvlt_ros.errors import DataError
from dvlt_ros.mapping.sensors.odometry import inverse
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
