"""A network that is nearly perfect: it knows a simulated robot's true poses and depths, and errs by as much as told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from simulated_building import INTRINSICS, SIZE, SimulatedRobot

from dvlt_ros.engine.odometry import inverse
from dvlt_ros.engine.predictor import WindowPrediction
from dvlt_ros.engine.windows import View
from dvlt_ros.model import PixelMapping

OUTLIER_DEPTHS_M = (0.1, 20.0)


@dataclass(frozen=True)
class PredictionNoise:
    """What a window's prediction has wrong beside its gauge; drawn anew for every window."""

    noise: float = 0.02  # of each depth, and of each step from camera to camera, relative
    outliers: float = 0.1  # share of the pixels whose depth is anything
    warp: float = 0.01  # of the depths, smooth over image and window, relative, root mean square
    bend_deg: float = 0.3  # of the path over a window, about any axis


@dataclass(eq=False)
class SimulatedPredictor:
    """Nearly perfect: knows every frame's true pose and depth; each window has a random gauge and errors of its own."""

    robot: SimulatedRobot
    noise: PredictionNoise = PredictionNoise()
    seed: int = 0
    min_steps: int = 2
    max_steps: int = 2
    image_size: int = 28
    has_fixed_steps: bool = False
    _rendered: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

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

    def _depth(self, key: tuple[str, int]) -> np.ndarray:
        if key not in self._rendered:
            self._rendered[key] = self.robot.building.depth(self.robot.truth[key])
        return self._rendered[key]

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
