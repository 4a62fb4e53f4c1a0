"""MapAnything (Keetha et al., arXiv 2509.13414): metric, one dictionary per view, poses camera-to-world."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .protocol import ModelCard, MultiViewPrediction, WeightsCard
from .upstream import IMAGENET_MEAN, IMAGENET_STD, UpstreamModel, from_hub, normalized, upstream

CARDS = (
    ModelCard(
        name="mapanything",
        title="MapAnything",
        image_size=518,
        patch_size=14,
        is_metric=True,
        code_licence="Apache-2.0",
        weights=(
            WeightsCard("facebook/map-anything-apache", "Apache-2.0", True),
            WeightsCard("facebook/map-anything", "CC-BY-NC 4.0", False),
        ),
        install="pip install git+https://github.com/facebookresearch/map-anything",
        package="mapanything",
    ),
)


class MapAnything(UpstreamModel):
    """World points are the primary answer. It gets images alone: no intrinsics, depth or poses to lean on."""

    def ask(self, images: Tensor) -> list[dict[str, Tensor]]:
        views = [
            {"img": image[None], "data_norm_type": ["dinov2"]}
            for image in normalized(images, IMAGENET_MEAN, IMAGENET_STD)
        ]
        network: Any = self.network
        answer: list[dict[str, Tensor]] = network.infer(
            views, use_amp=self.device.type == "cuda", apply_mask=False, mask_edges=False, apply_confidence_mask=False
        )
        return answer

    def convert(self, answer: list[dict[str, Tensor]]) -> MultiViewPrediction:
        def views(name: str) -> Tensor:
            return torch.cat([view[name] for view in answer]).float()

        return MultiViewPrediction.of(
            views("depth_z")[..., 0],
            1 + views("conf"),  # its range is not documented; it is above 0
            views("intrinsics"),
            views("camera_poses"),
            views("pts3d"),
            is_metric=True,
        )


def load(card: ModelCard, weights: str, device: torch.device) -> MapAnything:
    return MapAnything(card, from_hub(upstream(card, "mapanything.models").MapAnything, weights), device)
