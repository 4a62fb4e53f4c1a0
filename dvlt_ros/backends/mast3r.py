"""MASt3R (Leroy et al., ECCV 2024) with sparse global alignment: pairs of images, then an optimisation per window."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import invert_pose, transform_points
from .protocol import ModelCard, MultiViewPrediction, WeightsCard
from .upstream import UpstreamModel, from_hub, normalized, upstream

COMPLETE_UP_TO = 16  # views; larger windows pair each view with its next five
OPTIMISER = {"lr1": 0.2, "niter1": 500, "lr2": 0.02, "niter2": 500, "matching_conf_thr": 5.0, "opt_depth": True}

CARDS = (
    ModelCard(
        name="mast3r",
        title="MASt3R",
        image_size=512,
        patch_size=16,
        is_metric=False,  # its pairs are in metres, the alignment has a scale of its own
        code_licence="CC-BY-NC-SA 4.0",
        weights=(
            WeightsCard("naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric", "CC-BY-NC-SA 4.0", False),
        ),
        install="git clone --recursive https://github.com/naver/mast3r && "
        "pip install -r mast3r/requirements.txt -r mast3r/dust3r/requirements.txt && "
        "export PYTHONPATH=$PWD/mast3r:$PWD/mast3r/dust3r:$PYTHONPATH",
        package="mast3r",
    ),
)  # fmt: skip


class Mast3r(UpstreamModel):
    """The alignment's dense points are the primary answer. One camera is assumed for all views."""

    def __init__(self, card: ModelCard, network: Any, device: torch.device, make_pairs: Any, align: Any) -> None:
        super().__init__(card, network, device)
        self._make_pairs, self._align = make_pairs, align

    def ask(self, images: Tensor) -> tuple[Any, tuple[int, int]]:
        height, width = images.shape[-2:]
        # It optimizes, which needs gradients, float32 and tensors from outside of inference mode.
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(self.device.type, enabled=False):
            pictures = normalized(images.clone(), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).cpu()
            views = [
                {
                    "img": picture[None],
                    "true_shape": np.array([[height, width]], np.int32),
                    "idx": i,
                    "instance": str(i),
                }
                for i, picture in enumerate(pictures)
            ]
            graph = "complete" if len(views) <= COMPLETE_UP_TO else "swin-5"
            pairs = self._make_pairs(views, scene_graph=graph, prefilter=None, symmetrize=True)
            names = [f"view_{i}" for i in range(len(views))]  # keys of its cache; no such file is opened
            with tempfile.TemporaryDirectory() as cache:
                scene = self._align(
                    names, pairs, cache, self.network, device=str(self.device), shared_intrinsics=True, **OPTIMISER
                )
                dense = scene.get_dense_pts3d(clean_depth=True)  # reads the cache
        return (scene, dense), (height, width)

    def convert(self, answer: tuple[Any, tuple[int, int]]) -> MultiViewPrediction:
        (scene, (points, _, confidence)), size = answer
        world_from_cam = scene.get_im_poses().detach().float()
        points = torch.stack([_tensor(p, self.device).reshape(*size, 3) for p in points])
        confidence = torch.stack([_tensor(c, self.device).reshape(*size) for c in confidence])
        depth = transform_points(invert_pose(world_from_cam), points)[..., 2]
        focals, principal = scene.get_focals().detach().float(), scene.get_principal_points().detach().float()
        intrinsics = torch.eye(3, device=self.device).repeat(len(points), 1, 1)
        intrinsics[:, [0, 1], [0, 1]] = focals.reshape(-1, 1)
        intrinsics[:, :2, 2] = principal + 0.5  # its pixel (0, 0) is centred at (0, 0)
        # Cleaning sets the confidence of points that other views see through to 0.
        return MultiViewPrediction.of(depth, 1 + confidence, intrinsics, world_from_cam, points)


def _tensor(values: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device).detach()


def load(card: ModelCard, weights: str, device: torch.device) -> Mast3r:
    network = from_hub(upstream(card, "mast3r.model").AsymmetricMASt3R, weights)
    make_pairs = upstream(card, "mast3r.image_pairs").make_pairs
    align = upstream(card, "mast3r.cloud_opt.sparse_ga").sparse_global_alignment
    return Mast3r(card, network, device, make_pairs, align)
