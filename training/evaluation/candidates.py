"""What `evaluate` puts beside each other: checkpoints of Déjà View, and any other model by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dvlt_ros.backends import DEFAULT_MODEL, MultiViewPrediction, load_model, model_card, model_names
from dvlt_ros.backends.upstream import upstream
from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.types import Cameras


class Geometry(Protocol):
    """What figures and pictures need of a prediction for B scenes of S views."""

    @property
    def depth(self) -> Tensor: ...  # (B, S, H, W)

    @property
    def depth_confidence(self) -> Tensor: ...  # (B, S, H, W)

    @property
    def points(self) -> Tensor: ...  # (B, S, H, W, 3), one world per scene

    def cameras(self) -> Cameras: ...  # (B, S)


Run = Callable[[Tensor, int], Geometry]  # images (B, S, 3, H, W) and K


@dataclass(frozen=True)
class Candidate:
    """One that is evaluated; nothing of it is kept in memory."""

    label: str  # as it was asked for
    model: str
    weights: str  # empty: the model's own
    image_size: int  # longest edge, pixels
    patch_size: int
    num_steps: int  # K by default; 1 without a loop

    @property
    def has_loop(self) -> bool:
        return self.model == DEFAULT_MODEL

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """``outputs/mine/best``: a checkpoint of Déjà View; ``vggt``: a model; ``vggt=WEIGHTS``: with such weights.

        Raises:
            ConfigError: the model's package is not installed.
            WeightsError: no such checkpoint of Déjà View.
        """
        name, _, weights = text.partition("=")
        if name not in model_names():
            name, weights = DEFAULT_MODEL, text
        card = model_card(name)
        if name != DEFAULT_MODEL:
            upstream(card, card.package)  # what is missing is said before another model has run for an hour
            return cls(text, name, weights, card.image_size, card.patch_size, 1)
        checkpoint = weights or card.default_weights.source
        config = Dvlt.from_pretrained(checkpoint).config
        return cls(text, name, checkpoint, config.image_size, PATCH_SIZE, config.num_steps)

    def load(self, device: torch.device) -> Run:
        """The model on a device, as a function."""
        if self.model == DEFAULT_MODEL:
            network = Dvlt.from_pretrained(self.weights).to(device)
            return lambda images, steps: network(images.to(device), num_steps=steps)
        model = load_model(self.model, self.weights, device)
        return lambda images, _: Scenes(tuple(model.predict(scene) for scene in images))


def require_device(name: str) -> torch.device:
    """Raises ConfigError for a device that this machine or this PyTorch does not have."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # PyTorch without CUDA asserts
        raise ConfigError(f"device {name!r} is not here: {str(error).splitlines()[0]}") from error
    return device


@dataclass(frozen=True)
class Scenes:
    """Predictions of scenes of equal shape as one `Geometry`."""

    found: tuple[MultiViewPrediction, ...]

    @property
    def depth(self) -> Tensor:
        return torch.stack([scene.depth for scene in self.found])

    @property
    def depth_confidence(self) -> Tensor:
        return torch.stack([scene.confidence for scene in self.found])

    @property
    def points(self) -> Tensor:
        return torch.stack([scene.points for scene in self.found])

    def cameras(self) -> Cameras:
        poses, intrinsics = ([getattr(s, name) for s in self.found] for name in ("world_from_cam", "intrinsics"))
        return Cameras(torch.stack(poses), torch.stack(intrinsics))
