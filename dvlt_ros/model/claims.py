"""What a config.json claims, compared with the tensors beside it, before anything of that size is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ..errors import WeightsError
from .config import DvltConfig

MAX_STEPS = 1024  # of a looped network, whose weights do not tell how often it may be applied
MAX_IMAGE_SIZE = 16_384  # pixels


def check_claims(path: Path, config: DvltConfig, tensors: Mapping[str, Tensor]) -> None:
    """What is larger than the file's own tensors allow is refused; what is smaller, the comparison of names finds.

    Raises:
        WeightsError: a size that the file does not have; it names the field, the claim and what is there.
    """
    problems = [f"config.json says {name} = {claimed}, {found}" for name, claimed, found in _excessive(config, tensors)]
    if problems:
        raise WeightsError(f"{path}: does not fit the network; {'; '.join(problems)}")


def _excessive(config: DvltConfig, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int, str]]:
    """(field, claim, what speaks against it)."""
    blocks = {
        "encoder_depth": (config.num_encoder_blocks, "patch_embed_encoder.blocks."),
        "decoder_depth": (config.decoder_depth, "ray_decoder.blocks."),
        "num_steps": (config.num_loop_blocks, "recurrent_blocks."),
    }
    for name, (claimed, prefix) in blocks.items():
        if claimed > (found := _count(tensors, prefix)) > 0:
            yield name, claimed, f"the file has {found} of {prefix}*"
    widths = {
        "embed_dim": (config.embed_dim, "camera_token", -1),
        "decoder_embed_dim": (config.decoder_embed_dim, "ray_decoder.proj_in.weight", 0),
    }
    for name, (claimed, tensor, axis) in widths.items():
        if tensor in tensors and tensors[tensor].ndim and claimed > tensors[tensor].shape[axis]:
            yield name, claimed, f"the file's {tensor} is {tuple(tensors[tensor].shape)}"
    for index, claimed in enumerate(config.depth_head_channels if config.depth_head_type == "conv" else ()):
        tensor = f"depth_decoder.upsample_blocks.{index}.0.0.weight"
        if tensor in tensors and claimed > max(tensors[tensor].shape, default=0):
            yield "depth_head_channels", claimed, f"the file's {tensor} is {tuple(tensors[tensor].shape)}"
    for name, claimed, limit in (
        ("num_steps", config.num_steps, MAX_STEPS),
        ("image_size", config.image_size, MAX_IMAGE_SIZE),
    ):
        if claimed > limit:
            yield name, claimed, f"at most {limit} is read"


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
