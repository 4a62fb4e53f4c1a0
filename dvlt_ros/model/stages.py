"""The stages of a looped transformer, and what goes from one to the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import fit_cameras
from ..errors import InputError
from ..types import Cameras
from .checks import checked_views
from .config import DvltConfig
from .loop import Step


@dataclass(frozen=True)
class Prediction:
    """What the network says of S views of one scene, up to one unknown scale per scene.

    The world is the camera frame of the first view (OpenCV axes). Directions are not normalised: with z-depth
    d a pixel's point is ``origin + d * direction`` (paper, ray maps).
    """

    depth: Tensor  # (B, S, H, W), along the optical axis
    depth_confidence: Tensor  # (B, S, H, W), from 1 upwards
    ray_directions: Tensor  # (B, S, H, W, 3), world frame
    ray_origins: Tensor  # (B, S, H, W, 3), world frame
    pose_encoding: Tensor  # (B, S, 9): translation, quaternion xyzw, vertical and horizontal field of view

    @property
    def points(self) -> Tensor:
        """World points (B, S, H, W, 3)."""
        return self.ray_origins + self.ray_directions * self.depth.unsqueeze(-1)

    def cameras(self, intrinsics: Tensor | None = None) -> Cameras:
        """Cameras (B, S) that explain the rays; ``intrinsics`` (B, S, 3, 3) in pixels, where they are known."""
        return fit_cameras(self.ray_directions, self.ray_origins, intrinsics=intrinsics)


@dataclass(frozen=True)
class Features:
    """What the encoder says of each view on its own; it can be kept and put together anew."""

    tokens: Tensor  # (B, S, h*w, C): patches in row order; a network that matches by descriptors has them behind
    grid: tuple[int, int]  # patches (rows, columns)

    def views(self, indices: Sequence[int]) -> Features:
        """The features of some views."""
        return Features(self.tokens[:, checked_views(indices, self.tokens.shape[1])], self.grid)

    @staticmethod
    def concatenate(parts: Sequence[Features]) -> Features:
        """Views one after the other.

        Raises:
            InputError: nothing to concatenate, or views of several sizes.
        """
        grids = {part.grid for part in parts}
        if len(grids) != 1:
            raise InputError(f"features of one window must have one grid of patches, got {sorted(grids)}")
        return Features(torch.cat([part.tokens for part in parts], dim=1), parts[0].grid)


@dataclass(frozen=True)
class State:
    """Tokens of every view between the steps; frozen, so that it can be kept and reused."""

    tokens: Tensor  # (B, S, P, C): camera token, registers, patches in row order
    grid: tuple[int, int]  # patches (rows, columns)

    @property
    def num_views(self) -> int:
        return self.tokens.shape[1]


class Looped(ABC):
    """The stages of a model; how each works is the model's own, how steps become a run is here."""

    config: DvltConfig

    @abstractmethod
    def encode(self, images: Tensor) -> Features:
        """Patch features of every view (B, S, 3, H, W) on its own; they can be cached per image."""

    @abstractmethod
    def begin(self, features: Features) -> State:
        """The state before the first step; the first view is the reference, whose frame is the world."""

    @abstractmethod
    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction:
        """Depth, rays and camera encoding of the chosen views (all by default), float32."""

    @abstractmethod
    def schedule(self, num_steps: int) -> list[Step]:
        """The K steps of the loop with their scales, which depend on K alone."""

    @abstractmethod
    def step(self, state: State, step: Step) -> State:
        """One of the K steps of `schedule`."""

    def states(self, state: State, num_steps: int) -> Iterator[State]:
        """The state after each of the K steps."""
        require_state(state, "states")
        for step in self.schedule(num_steps):
            state = self.step(state, step)
            yield state

    def run(self, state: State, num_steps: int) -> State:
        """The state after K steps."""
        require_state(state, "run")
        for after in self.states(state, num_steps):
            state = after
        return state

    def run_and_decode(self, state: State, num_steps: int, views: Sequence[int] | None = None) -> Prediction:
        """The chosen views (all by default) after K steps; a model may leave out what the others alone need."""
        return self.decode(self.run(state, num_steps), views)

    def run_until_settled(self, state: State, num_steps: int, settled_update: float) -> tuple[State, int]:
        """A pass of at most K steps that ends with the first whose update is at most ``settled_update``.

        Returns:
            The state, and how many steps it took. Reading the update waits for a GPU after every step.
        """
        require_state(state, "run_until_settled")
        patches, taken = state.grid[0] * state.grid[1], 0
        for after in self.states(state, num_steps):
            size = update_sizes(state.tokens[:, :, -patches:], after.tokens[:, :, -patches:])
            state, taken = after, taken + 1
            if bool((size <= settled_update).all()):
                break
        return state, taken


def update_sizes(before: Tensor, after: Tensor) -> Tensor:
    """Norm (B,) of the change of each scene's tokens (B, ...) over their norm before."""
    return (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)


def require_state(state: State, stage: str) -> None:
    if not isinstance(state, State):
        raise InputError(f"{stage} takes a State, which begin and step give, got {type(state).__name__}")
