"""What every multi-view model looks like from outside: images in, geometry in one set of conventions out.

    model = load_model("vggt", device="cuda")
    prediction = model.predict(images)          # (S, 3, H, W) in [0, 1], H and W multiples of the patch size
    prediction.points, prediction.world_from_cam

The conventions are those of the package: OpenCV axes, camera-to-world poses, z-depth, pixel (0, 0) centred at
(0.5, 0.5), intrinsics in pixels of the maps. What a model wants beyond that, its normalisation for example, is its
wrapper's business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..geometry import invert_pose, transform_points, unproject
from ..types import Cameras


@dataclass(frozen=True)
class WeightsCard:
    """Published weights and what one may do with them."""

    source: str  # Hugging Face id, or what stands for it
    licence: str
    allows_commercial_use: bool


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before anything of it is imported or loaded."""

    name: str  # as --model and the node's parameter take it
    title: str  # as people write it
    image_size: int  # longest edge in pixels that the weights are meant for
    patch_size: int  # heights and widths are multiples of it, pixels
    is_metric: bool  # it says metres; others are right up to one scale per prediction
    code_licence: str
    weights: tuple[WeightsCard, ...]  # the first is the default
    install: str = ""  # shell command; empty: it comes with this package
    package: str = ""  # top-level name that the command brings; empty: none is needed

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError(f"model {self.name} must name the weights that it was published with")
        if self.image_size < 1 or self.image_size % self.patch_size:
            raise ConfigError(
                f"image_size of model {self.name} must be a multiple of {self.patch_size}, got {self.image_size}"
            )

    @property
    def default_weights(self) -> WeightsCard:
        return self.weights[0]

    def known_weights(self, source: str) -> WeightsCard | None:
        """The card of these weights; None: nobody here knows their licence."""
        return next((card for card in self.weights if card.source == source), None)


@dataclass(frozen=True, eq=False)
class MultiViewPrediction:
    """What a model says of S views of one scene, float32, on the model's device.

    The world is the camera frame of the first view, as exactly as the model has it there. Lengths are metres if
    ``is_metric``, else up to one factor.
    Points and poses are not finite where the model has no answer.
    """

    depth: Tensor  # (S, h, w), along the optical axis
    confidence: Tensor  # (S, h, w), from 1 upwards; comparable within one prediction only
    intrinsics: Tensor  # (S, 3, 3), pixels of the maps
    world_from_cam: Tensor  # (S, 4, 4)
    points: Tensor  # (S, h, w, 3), world: the model's primary answer
    direct_points: Tensor | None = None  # (S, h, w, 3), world: a second head's, where there is one
    is_metric: bool = False

    def __post_init__(self) -> None:
        maps = tuple(self.depth.shape)
        if len(maps) != 3:
            raise InputError(f"depth must be (S, h, w), got {maps}")
        expected = {
            "confidence": maps, "intrinsics": (maps[0], 3, 3), "world_from_cam": (maps[0], 4, 4), "points": (*maps, 3),
            "direct_points": (*maps, 3),
        }  # fmt: skip
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise InputError(f"{name} must be {shape} beside depth {maps}, got {tuple(value.shape)}")

    @classmethod
    def of(
        cls,
        depth: Tensor,
        confidence: Tensor,
        intrinsics: Tensor,
        world_from_cam: Tensor,
        points: Tensor | None = None,
        direct_points: Tensor | None = None,
        is_metric: bool = False,
    ) -> MultiViewPrediction:
        """From any world frame and floating-point type; without ``points`` the depth is unprojected."""
        depth, confidence, intrinsics, world_from_cam = (
            value.float() for value in (depth, confidence, intrinsics, world_from_cam)
        )
        first_from_world = invert_pose(world_from_cam[0])
        points = transform_points(world_from_cam, unproject(depth, intrinsics)) if points is None else points.float()
        return cls(
            depth,
            confidence,
            intrinsics,
            first_from_world @ world_from_cam,
            transform_points(first_from_world, points),
            None if direct_points is None else transform_points(first_from_world, direct_points.float()),
            is_metric,
        )

    @property
    def cameras(self) -> Cameras:
        """All S of them."""
        return Cameras(self.world_from_cam, self.intrinsics)

    def to(self, device: torch.device | str) -> MultiViewPrediction:
        moved: dict[str, Any] = {n: value.to(device) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class MultiViewModel(Protocol):
    """A loaded model, in evaluation mode on its device."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def image_size(self) -> int:
        """Longest edge in pixels that the loaded weights are meant for; a multiple of ``card.patch_size``."""

    @property
    def min_steps(self) -> int:
        """Fewest steps of the loop that the weights are valid for; 1 without a loop."""

    @property
    def max_steps(self) -> int:
        """Most steps, and the default; 1 without a loop."""

    def predict(self, images: Tensor, num_steps: int | None = None) -> MultiViewPrediction:
        """Geometry of all views together.

        Args:
            images: (S, 3, H, W), floating point RGB in [0, 1] on any device, H and W multiples of the patch size;
                the first view is the reference.
            num_steps: K of a model with a loop, ``max_steps`` by default; others only know None and 1.

        Raises:
            InputError: images or a K that this model cannot take.
        """
        ...


def check_images(images: Tensor, card: ModelCard) -> None:
    """Shape, type and range. Raises InputError."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or 0 in shape:
        raise InputError(f"{card.name}: images must be (S, 3, H, W), got {shape}")
    if shape[2] % card.patch_size or shape[3] % card.patch_size:
        raise InputError(
            f"{card.name}: image height and width must be multiples of {card.patch_size}, got {shape[2]} x {shape[3]}"
        )
    if not images.is_floating_point():
        raise InputError(f"{card.name}: images must be floating point in [0, 1], got {images.dtype}")
    low, high = (float(value) for value in images.detach().aminmax())
    if not (low >= -0.5 and high <= 1.5):  # also where they are not numbers
        raise InputError(f"{card.name}: images must be in [0, 1], got values from {low:.3g} to {high:.3g}")


def check_steps(num_steps: int | None, card: ModelCard) -> None:
    """For a model without a loop. Raises InputError."""
    if num_steps not in (None, 1):
        raise InputError(f"{card.name} has no loop: num_steps must be None or 1, got {num_steps}")
