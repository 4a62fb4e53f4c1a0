"""VGGT (Wang et al., CVPR 2025): poses world-to-camera in an encoding, depth with a trailing axis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..cameras import cameras_from_pose_encoding
from ..geometry import invert_pose
from .protocol import ModelCard, MultiViewPrediction, WeightsCard
from .upstream import UpstreamModel, load_strictly, upstream

CARDS = (
    ModelCard(
        name="vggt",
        title="VGGT",
        image_size=518,
        patch_size=14,
        is_metric=False,
        code_licence="VGGT License",
        weights=(
            WeightsCard("facebook/VGGT-1B", "CC-BY-NC 4.0", False),
            WeightsCard("facebook/VGGT-1B-Commercial", "the VGGT commercial licence", True),
        ),
        install="pip install git+https://github.com/facebookresearch/vggt",
        package="vggt",
    ),
)


class Vggt(UpstreamModel):
    """Depth, unprojected, is the primary answer; the point head's the direct one."""

    def ask(self, images: Tensor) -> dict[str, Tensor]:
        answer: dict[str, Tensor] = self.network(images[None])  # it normalises by itself
        return answer

    def convert(self, answer: dict[str, Tensor]) -> MultiViewPrediction:
        depth = answer["depth"][0, ..., 0].float()
        cameras = cameras_from_pose_encoding(answer["pose_enc"][0].float(), *depth.shape[-2:])
        world_from_cam = invert_pose(cameras.world_from_cam)  # the encoding is of cam_from_world
        return MultiViewPrediction.of(
            depth, answer["depth_conf"][0], cameras.intrinsics, world_from_cam, direct_points=answer["world_points"][0]
        )


def load(card: ModelCard, weights: str, device: torch.device) -> Vggt:
    network: Any = upstream(card, "vggt.models.vggt").VGGT(enable_track=False)
    own = lambda name: None if name.startswith("track_head.") else name  # noqa: E731
    return Vggt(card, load_strictly(network, weights, own), device)
