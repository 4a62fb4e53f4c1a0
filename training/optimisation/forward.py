"""One forward pass of training, of images or of what a frozen encoder said of them, and how it computes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dvlt_ros.model import Dvlt, Features, Prediction, check_images
from dvlt_ros.model.layers import Attention

from ..data.types import Views
from ..references.cross import CrossReferenceDvlt, each_reference_first, views_of_references


class TrainingPass(nn.Module):
    """A network as a module whose output is its prediction and the features that this came from."""

    def __init__(self, network: Dvlt) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, images: Tensor, frozen: Tensor | None, grid: tuple[int, int], num_steps: int
    ) -> tuple[Prediction, Features]:
        """Images (B, S, 3, H, W), or the frozen encoder's (B, S, h*w, (taps + 1) * C) on a grid (h, w)."""
        if frozen is None:
            check_images(images)
            features = self.network.encode(images)
        else:
            features = Features(self.network.patch_embed_encoder.readout(frozen), grid)
        if isinstance(self.network, CrossReferenceDvlt):
            return each_reference_first(self.network.paths(features, num_steps)), features
        return self.network(features, num_steps=num_steps), features


def compared(network: Dvlt, views: Views) -> Views:
    """The truth that a pass's predictions are compared with: once for each reference view."""
    if isinstance(network, CrossReferenceDvlt):
        return views_of_references(views, network.references)
    return views


def use_two_products(network: nn.Module, used: bool) -> None:
    """Attention as two batched products and a softmax, or as one fused operation."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.two_products = used


def attends_by_products(asked: Literal["fused", "products", "auto"], device: torch.device) -> bool:
    """``auto``: where products in bfloat16 are so fast that the fused operation's backward, which is not, dominates."""
    return asked == "products" or (asked == "auto" and device.type == "cpu" and multiplies_bf16(device))


def multiplies_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32 here: a GPU that has them, AMX, or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # absent from builds for other processors
    return device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def resolved_precision(asked: Literal["no", "bf16", "auto"], device: torch.device) -> Literal["no", "bf16"]:
    """``auto`` is bf16 where the hardware multiplies in it."""
    if asked != "auto":
        return asked
    return "bf16" if multiplies_bf16(device) else "no"


def compile_blocks(network: Dvlt) -> None:
    """Everything with blocks of attention, in place; parameters keep their names, and hooks run outside."""
    loop = [part for block in network.recurrent_blocks for part in block.children()]
    for part in (network.patch_embed_encoder, *loop, network.ray_decoder, network.depth_decoder):
        vars(part)["forward"] = torch.compile(part.forward)
