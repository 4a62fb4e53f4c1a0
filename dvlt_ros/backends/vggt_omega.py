"""VGGT-Ω (Wang et al., arXiv 2605.15195): poses world-to-camera, focal lengths and a centred principal point."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import WeightsError
from ..geometry import invert_pose, pose_matrix
from .protocol import ModelCard, MultiViewPrediction, WeightsCard
from .upstream import UpstreamModel, load_strictly, upstream

CONVERT = (
    'download vggt_omega_1b_512.pt, convert it once with\n  python3 -c "import torch; from safetensors.torch import '
    "save_file; save_file(torch.load('vggt_omega_1b_512.pt', map_location='cpu', weights_only=True), "
    "'vggt_omega.safetensors')\"\nand give vggt_omega.safetensors as weights"
)

CARDS = (
    ModelCard(
        name="vggt-omega",
        title="VGGT-Ω",
        image_size=512,
        patch_size=16,
        is_metric=False,
        code_licence="FAIR Noncommercial Research License",
        weights=(WeightsCard("facebook/VGGT-Omega", "the FAIR Noncommercial Research License", False),),
        install="pip install git+https://github.com/facebookresearch/vggt-omega",
        package="vggt_omega",
    ),
)


class VggtOmega(UpstreamModel):
    """Depth, unprojected, is the only answer."""

    def __init__(self, card: ModelCard, network: Any, device: torch.device, to_cameras: Any) -> None:
        super().__init__(card, network, device)
        self._to_cameras = to_cameras

    def ask(self, images: Tensor) -> dict[str, Tensor]:
        answer: dict[str, Tensor] = self.network(images[None])
        return answer

    def convert(self, answer: dict[str, Tensor]) -> MultiViewPrediction:
        depth = answer["depth"][0, ..., 0].float()
        cam_from_world, intrinsics = self._to_cameras(answer["pose_enc"].float(), depth.shape[-2:])
        rotation, translation = cam_from_world[0, :, :3, :3], cam_from_world[0, :, :3, 3]
        world_from_cam = invert_pose(pose_matrix(rotation, translation))
        return MultiViewPrediction.of(depth, answer["depth_conf"][0], intrinsics[0], world_from_cam)


def load(card: ModelCard, weights: str, device: torch.device) -> VggtOmega:
    if weights == card.default_weights.source:
        raise WeightsError(f"{weights}: published behind a form, and as a pickle, which is never read: {CONVERT}")
    network = upstream(card, "vggt_omega.models").VGGTOmega()
    to_cameras = upstream(card, "vggt_omega.utils.pose_enc").encoding_to_camera
    return VggtOmega(card, load_strictly(network, weights), device, to_cameras)
