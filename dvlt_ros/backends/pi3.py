"""π³ and π³X (Wang et al., arXiv 2507.13347): points per camera, poses camera-to-world, no reference view."""

from __future__ import annotations

import torch
from torch import Tensor

from .protocol import ModelCard, MultiViewPrediction, WeightsCard
from .upstream import UpstreamModel, fitted_intrinsics, load_strictly, upstream

INSTALL = "pip install git+https://github.com/yyfz/Pi3"

CARDS = (
    ModelCard(
        name="pi3",
        title="π³",
        image_size=518,
        patch_size=14,
        is_metric=False,
        code_licence="BSD",
        # The project's documents name a BSD licence in one place and non-commercial use in another: the narrower holds.
        weights=(WeightsCard("yyfz233/Pi3", "a BSD licence or non-commercial use, its documents disagree", False),),
        install=INSTALL,
        package="pi3",
    ),
    ModelCard(
        name="pi3x",
        title="π³X",
        image_size=518,
        patch_size=14,
        is_metric=True,
        code_licence="BSD",
        weights=(WeightsCard("yyfz233/Pi3X", "CC-BY-NC 4.0", False),),
        install=INSTALL,
        package="pi3",
    ),
)
CLASSES = {"pi3": ("pi3.models.pi3", "Pi3"), "pi3x": ("pi3.models.pi3x", "Pi3X")}


class Pi3(UpstreamModel):
    """World points are the primary answer; intrinsics are fitted to those of each camera."""

    def ask(self, images: Tensor) -> dict[str, Tensor]:
        answer: dict[str, Tensor] = self.network(images[None])  # it normalises by itself
        return answer

    def convert(self, answer: dict[str, Tensor]) -> MultiViewPrediction:
        points_cam = answer["local_points"][0].float()
        logits = answer["conf"][0, ..., 0].float()
        return MultiViewPrediction.of(
            points_cam[..., 2],
            1 + logits.clamp(max=15).exp(),
            fitted_intrinsics(points_cam),
            answer["camera_poses"][0],
            answer["points"][0],
            is_metric=self.card.is_metric,
        )


def load(card: ModelCard, weights: str, device: torch.device) -> Pi3:
    module, name = CLASSES[card.name]
    network = getattr(upstream(card, module), name)()
    return Pi3(card, load_strictly(network, weights), device)
