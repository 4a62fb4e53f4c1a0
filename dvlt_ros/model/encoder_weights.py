"""DINOv2's own checkpoints as the encoder of a new network: both published layouts, with and without registers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from .config import NUM_REGISTERS
from .encoder import Encoder
from .weights import check_tensors, locate_checkpoint, read_tensors

ENCODER_LICENSE = (
    "DINOv2 is published by Meta under the Apache License 2.0: name it where weights made from it are passed on"
)
ENCODER_NOTICE = """\
The weights of the image encoder (patch_embed_encoder.*) come from {source}:
DINOv2, Copyright (c) Meta Platforms, Inc. and affiliates, Apache License 2.0.
"""
FACEBOOK_MARK = "patch_embed.proj.weight"  # a tensor that only this layout has
HUGGING_FACE_MARK = "embeddings.patch_embeddings.projection.weight"
HUGGING_FACE_PREFIXES = ("dinov2.", "dinov2_with_registers.", "backbone.")  # of models with a head

# Names of the classes of `transformers`, and where the same tensors are in `Encoder`.
EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
IN_A_LAYER = {
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
QKV = ("query", "key", "value")

logger = logging.getLogger(__name__)


def load_encoder(encoder: Encoder, source: str | Path, revision: str | None = None) -> None:
    """Fill an encoder with the weights of a DINOv2: Hugging Face id, directory or ``.safetensors`` file.

    Names are those of `transformers` or of the original repository. The last LayerNorm is checked and left out, as
    Déjà View does. Its licence is logged.

    Raises:
        WeightsError: no such file or repository, another width, depth or number of registers, or any tensor that is
            missing, too many or misshaped.
    """
    path = locate_checkpoint(source, revision)
    tensors = _in_our_names(path, read_tensors(path))
    _check_size(path, tensors, encoder)
    expected = {name: value for name, value in encoder.state_dict().items() if not name.startswith("descriptors.")}
    width = torch.empty(encoder.cls_token.shape[-1])
    check_tensors(path, tensors, expected | {"norm.weight": width, "norm.bias": width})
    encoder.load_state_dict(encoder.state_dict() | {name: tensors[name] for name in expected})
    logger.info("encoder from %s; %s", source, ENCODER_LICENSE)


def _in_our_names(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if FACEBOOK_MARK in tensors:
        return dict(tensors)
    for prefix in ("", *HUGGING_FACE_PREFIXES):
        if prefix + HUGGING_FACE_MARK in tensors:
            return _from_hugging_face(path, {name.removeprefix(prefix): value for name, value in tensors.items()})
    marks = f"{HUGGING_FACE_MARK} nor {FACEBOOK_MARK}"
    raise WeightsError(f"{path}: not the weights of a DINOv2: it has neither {marks}")


def _from_hugging_face(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renamed; query, key and value of a layer become one tensor. What has no place keeps its name, to be refused."""
    found, parts = {}, dict[str, dict[str, Tensor]]()
    for name, value in tensors.items():
        layer = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if layer is None:
            found[EMBEDDINGS.get(name, name)] = value
            continue
        number, rest = layer.groups()
        third = re.fullmatch(r"attention\.attention\.(query|key|value)\.(weight|bias)", rest)
        if third is not None:
            parts.setdefault(f"blocks.{number}.attn.qkv.{third[2]}", {})[third[1]] = value
            continue
        stem, _, kind = rest.rpartition(".")
        ours = IN_A_LAYER.get(rest) or (f"{IN_A_LAYER[stem]}.{kind}" if stem in IN_A_LAYER else None)
        found[name if ours is None else f"blocks.{number}.{ours}"] = value
    for name, thirds in parts.items():
        missing = [part for part in QKV if part not in thirds]
        if missing:
            raise WeightsError(f"{path}: does not fit the network; missing tensors: {', '.join(missing)} of {name}")
        if len({value.shape for value in thirds.values()}) > 1:
            raise WeightsError(f"{path}: query, key and value of {name} have different shapes")
        found[name] = torch.cat([thirds[part] for part in QKV])
    return found


def _check_size(path: Path, tensors: Mapping[str, Tensor], encoder: Encoder) -> None:
    """Width, registers and depth first: one line says what a hundred misshaped tensors would."""
    token = tensors.get("cls_token")
    width = encoder.cls_token.shape[-1]
    if token is not None and token.shape[-1:] != (width,):
        raise WeightsError(f"{path}: the encoder is {token.shape[-1]} wide, model.config.embed_dim is {width}")
    wanted, there = encoder.num_special > 1, "register_tokens" in tensors
    if wanted != there:
        raise WeightsError(
            f"{path}: the encoder has {'' if there else 'no '}register tokens; set patch_embed to a name "
            f"{'with' if there else 'without'} '_reg' and encoder_registers to {NUM_REGISTERS if there else 0}"
        )
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    if depth and depth != len(encoder.blocks):
        raise WeightsError(f"{path}: the encoder has {depth} blocks, the network {len(encoder.blocks)}")
