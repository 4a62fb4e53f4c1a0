"""Déjà View, this package's own model, behind the protocol of all."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checkpoints import DEFAULT, SHIPPED
from ..model import Dvlt, State
from ..model.config import PATCH_SIZE
from .protocol import ModelCard, MultiViewPrediction, WeightsCard, check_images

VIEWS_AT_ONCE = 8  # in the decoders, which take most of the memory

CARDS = (
    ModelCard(
        name="dvlt",
        title="Déjà View",
        image_size=504,
        patch_size=PATCH_SIZE,
        is_metric=False,
        code_licence="Apache-2.0",
        weights=(
            WeightsCard(DEFAULT, "Apache-2.0", True),
            *(WeightsCard(name, "Apache-2.0", True) for name in SHIPPED if name != DEFAULT),
            WeightsCard("nvidia/dvlt", "the NVIDIA licence, non-commercial", False),
        ),
    ),
)


class DvltModel:
    """K steps of one block; cameras are fitted to its rays."""

    def __init__(self, card: ModelCard, network: Dvlt, device: torch.device) -> None:
        self.card = card
        self.device = device
        self.network = network.to(device).eval()

    @property
    def image_size(self) -> int:
        return self.network.config.image_size

    @property
    def min_steps(self) -> int:
        return self.network.config.min_steps

    @property
    def max_steps(self) -> int:
        return self.network.config.num_steps

    def predict(self, images: Tensor, num_steps: int | None = None) -> MultiViewPrediction:
        check_images(images, self.card)
        images, network = images.to(self.device), self.network
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
            state = network.begin(network.encode(images[None]))
            state = network.run(state, self.max_steps if num_steps is None else num_steps)
            parts = [self._decoded(state, views) for views in torch.arange(len(images)).split(VIEWS_AT_ONCE)]
        depth, confidence, intrinsics, world_from_cam, points = map(torch.cat, zip(*parts, strict=True))
        return MultiViewPrediction(depth, confidence, intrinsics, world_from_cam, points)

    def _decoded(self, state: State, views: Tensor) -> tuple[Tensor, ...]:
        """Depth, confidence, intrinsics, world_from_cam and points."""
        found = self.network.decode(state, views.tolist())
        cameras = found.cameras()
        depth, confidence, points = (x[0].float() for x in (found.depth, found.depth_confidence, found.points))
        return depth, confidence, cameras.intrinsics[0], cameras.world_from_cam[0], points


def load(card: ModelCard, weights: str, device: torch.device) -> DvltModel:
    return DvltModel(card, Dvlt.from_pretrained(weights), device)
