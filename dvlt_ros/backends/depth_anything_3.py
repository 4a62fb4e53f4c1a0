"""Depth Anything 3 (Lin et al., arXiv 2511.10647): depth and rays; poses world-to-camera, (3, 4) or (4, 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..geometry import invert_pose, pose_matrix
from .protocol import ModelCard, MultiViewPrediction, WeightsCard
from .upstream import IMAGENET_MEAN, IMAGENET_STD, UpstreamModel, load_strictly, normalized, upstream


def _card(size: str, *weights: WeightsCard) -> ModelCard:
    return ModelCard(
        name=f"da3-{size}",
        title=f"Depth Anything 3 {size}",
        image_size=504,
        patch_size=14,
        is_metric=False,
        code_licence="Apache-2.0",
        weights=weights,
        # Alone it would ask for NumPy below 2, Open3D and more that the network does not need.
        install="pip install --no-deps depth-anything-3 && pip install addict einops omegaconf",
        package="depth_anything_3",
    )


CARDS = (
    _card("base", WeightsCard("depth-anything/DA3-BASE", "Apache-2.0", True)),
    _card(
        "large",
        WeightsCard("depth-anything/DA3-LARGE-1.1", "CC-BY-NC 4.0", False),
        WeightsCard("depth-anything/DA3-LARGE", "CC-BY-NC 4.0", False),
    ),
    _card(
        "giant",
        WeightsCard("depth-anything/DA3-GIANT-1.1", "CC-BY-NC 4.0", False),
        WeightsCard("depth-anything/DA3-GIANT", "CC-BY-NC 4.0", False),
    ),
)


class DepthAnything3(UpstreamModel):
    """Poses come from the rays, the first view is the reference; depth, unprojected, is the only answer."""

    def ask(self, images: Tensor) -> Any:
        images = normalized(images, IMAGENET_MEAN, IMAGENET_STD)
        return self.network(images[None], use_ray_pose=True, ref_view_strategy="first")

    def convert(self, answer: Any) -> MultiViewPrediction:
        cam_from_world = answer["extrinsics"][0].float()
        world_from_cam = invert_pose(pose_matrix(cam_from_world[:, :3, :3], cam_from_world[:, :3, 3]))
        depth, confidence = (answer[name][0].float() for name in ("depth", "depth_conf"))
        return MultiViewPrediction.of(depth, confidence, answer["intrinsics"][0], world_from_cam)


def load(card: ModelCard, weights: str, device: torch.device) -> DepthAnything3:
    cfg, registry = upstream(card, "depth_anything_3.cfg"), upstream(card, "depth_anything_3.registry")
    network = cfg.create_object(cfg.load_config(registry.MODEL_REGISTRY[card.name]))
    return DepthAnything3(card, load_strictly(network, weights, lambda name: name.removeprefix("model.")), device)
