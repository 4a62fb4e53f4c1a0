"""A nearly perfect network: it knows a simulated robot's true poses and depths, and adds errors of chosen size.

Its features are smooth random functions of the surface that a patch sees, as if every wall had a pattern of its own. A
part of them repeats every ``REPEAT_M`` metres, as doors and tiles do, and each view adds noise: different places look
alike, and the same place looks different each time. A joint window of two different places is nearly perfect too, which
no real network is; with ``is_fooled`` the network takes them for one place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.descriptors import describe
from dvlt_ros.mapping.inference.prediction import WindowPrediction
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.model import Features, PixelMapping
from simulation.building import INTRINSICS, SIZE

CPU = torch.device("cpu")
OUTLIER_DEPTHS_M = (0.1, 20.0)
PATCH = 4  # pixels
CHANNELS, REPEATING = 48, 24  # of the features, and those of them that repeat
PATTERN_M, REPEAT_M = 0.6, 5.0  # size of the patterns on the walls, and period of those that repeat


@dataclass(frozen=True)
class PredictionNoise:
    """Errors of a window's prediction besides its gauge; drawn anew for every window."""

    noise: float = 0.02  # of each depth, and of each step from camera to camera, relative
    outliers: float = 0.1  # share of the pixels whose depth is anything
    warp: float = 0.01  # of the depths, smooth over image and window, relative, root mean square
    bend_deg: float = 0.3  # of the path over a window, about any axis
    features: float = 0.5  # of each feature, beside patterns of root mean square 0.7


class Truth(Protocol):
    """Ground truth of the frames of one or several drives."""

    @property
    def truth(self) -> Mapping[tuple[str, int], np.ndarray]:
        """world_from_cam (4, 4) by camera and stamp."""

    def depth(self, key: tuple[str, int]) -> np.ndarray:
        """(H, W), metres."""


@dataclass(eq=False)
class SimulatedPredictor:
    """Nearly perfect: knows every frame's true pose and depth; each window has a random gauge and errors of its own."""

    robot: Truth
    noise: PredictionNoise = PredictionNoise()
    seed: int = 0
    is_fooled: bool = False  # it takes the two halves of a joint window for one place
    error_seed: int | None = None  # of its errors alone; None: ``seed``, which the patterns on the walls come from too
    min_steps: int = 2
    max_steps: int = 2
    image_size: int = 28
    cut_share: float = 0.1
    device: torch.device = CPU
    has_fixed_steps: bool = False

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed if self.error_seed is None else self.error_seed)
        walls = np.random.default_rng(self.seed + 1)
        self._patterns = walls.normal(size=(3, CHANNELS)) / PATTERN_M, walls.uniform(0, 2 * math.pi, CHANNELS)

    def reset(self) -> None:
        """There is nothing to forget."""

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        rng, (nearest, farthest) = self._rng, OUTLIER_DEPTHS_M
        keys = [(view.frame.frame_id, view.frame.stamp_ns) for view in views]
        poses = self._bent(np.stack([self.robot.truth[key] for key in keys]))[list(decoded)]
        depth = np.stack([self._depth(keys[i]) for i in decoded])
        time = np.linspace(-1, 1, len(views))[list(decoded)]
        depth = (
            depth * (1 + self.noise.warp * smooth(rng, time)) * (1 + self.noise.noise * rng.normal(size=depth.shape))
        )
        anything = np.exp(rng.uniform(math.log(nearest), math.log(farthest), depth.shape))
        depth = np.where(rng.uniform(size=depth.shape) < self.noise.outliers, anything, depth)
        scale, gauge = math.exp(0.5 * rng.normal()), rotation_of(rng.normal(size=3) * math.pi / 2)
        window_from_cam = np.tile(np.eye(4), (len(poses), 1, 1))
        window_from_cam[:, :3, :3] = gauge @ poses[:, :3, :3]
        window_from_cam[:, :3, 3] = scale * (poses[:, :3, 3] - poses[0, :3, 3]) @ gauge.T + rng.normal(size=3)
        return WindowPrediction(
            (scale * depth).astype(np.float32), np.full(depth.shape, 2.0, np.float32), window_from_cam,
            np.tile(INTRINSICS, (len(poses), 1, 1)), PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)),
        )  # fmt: skip

    def predict_apart(self, views: Sequence[View], num_steps: int, image_size: int) -> WindowPrediction:
        prediction = self.predict(views, num_steps, image_size, range(len(views)))
        middle = len(views) // 2
        if self.is_fooled:
            poses = prediction.window_from_cam
            poses[middle:] = poses[middle - 1] @ inverse(poses[-1]) @ poses[middle:]
        return prediction

    @property
    def checkpoint(self) -> str:
        return "simulated"

    def describe(self, view: View, image_size: int) -> np.ndarray:
        """(cells, channels) of what the view sees."""
        key = view.frame.frame_id, view.frame.stamp_ns
        rows, columns = np.mgrid[PATCH // 2 : SIZE[0] : PATCH, PATCH // 2 : SIZE[1] : PATCH]
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(rows.shape)], axis=-1).reshape(-1, 3)
        pose, depth = self.robot.truth[key], self._depth(key)[rows, columns].reshape(-1, 1)
        seen = (pixels @ np.linalg.inv(INTRINSICS).T * depth) @ pose[:3, :3].T + pose[:3, 3]
        frequencies, phases = self._patterns
        where = np.where(np.arange(CHANNELS) < REPEATING, seen[..., None] % REPEAT_M, seen[..., None])  # (N, 3, C)
        tokens = np.cos(np.einsum("nic,ic->nc", where, frequencies) + phases)
        tokens += self.noise.features * self._rng.normal(size=tokens.shape)
        return describe(Features(torch.from_numpy(tokens).float()[None, None], rows.shape))[0]

    def _depth(self, key: tuple[str, int]) -> np.ndarray:
        return self.robot.depth(key)

    def _bent(self, world_from_cam: np.ndarray) -> np.ndarray:
        """Nearly the same steps, with a turn between them that adds up to ``bend_deg``."""
        axis = self._rng.normal(size=3)
        axis *= math.radians(self.noise.bend_deg) / np.linalg.norm(axis) / max(1, len(world_from_cam) - 1)
        turn = np.eye(4)
        turn[:3, :3] = rotation_of(axis)
        poses = [world_from_cam[0]]
        for before, after in pairwise(world_from_cam):
            step = inverse(before) @ after
            step[:3, 3] += self.noise.noise * np.linalg.norm(step[:3, 3]) * self._rng.normal(size=3)
            poses.append(poses[-1] @ turn @ step)
        return np.stack(poses)


def smooth(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """(V, H, W), of second order over the image, of first order over the window (``time`` from -1 to 1); size 1."""
    v, u = np.meshgrid(*(np.linspace(-1, 1, size) for size in SIZE), indexing="ij")
    basis = np.stack([np.ones(SIZE), u, v, u * v, 2 * u * u - 1, 2 * v * v - 1])
    size = math.sqrt(float((basis**2).mean(axis=(1, 2)).sum() * (1 + 1 / 3)))
    constant, slope = rng.normal(size=(2, 6))
    return np.tensordot(constant + time[:, None] * slope, basis, axes=1) / size


def rotation_of(vector: np.ndarray) -> np.ndarray:
    """(3, 3) about a vector (3,): axis times radians."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
