"""Which parameters train, and how fast: the parts of the network and the finetune modes."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.model.encoder_weights import load_encoder
from dvlt_ros.model.weights import check_tensors, locate_checkpoint, read_tensors

from ..config import FinetuneMode, ModelSource, Optimizer
from ..references.cross import CrossReferenceDvlt
from .start import restart_matching, start_weights

MATCHED = ("correlation.", "patch_embed_encoder.descriptors.")  # what matches with the first view, on a frozen encoder

# Part of the network: the prefixes of its parameters' names. The first match counts.
PARTS: dict[str, tuple[str, ...]] = {
    "depth_output": ("depth_decoder.output_block.", "depth_decoder.head."),
    "depth_decoder": ("depth_decoder.",),
    "ray_decoder": ("ray_decoder.", "camera_head."),
    "cross_references": ("cross_reference.",),
    "loop": ("recurrent_blocks.", "camera_token", "register_token", *MATCHED),
    "encoder": ("patch_embed_encoder.",),
}
MODES: dict[FinetuneMode, tuple[str, ...]] = {
    "depth_output": ("depth_output",),
    "depth_decoder": ("depth_output", "depth_decoder"),
    "depth_decoder_and_loop": ("depth_output", "depth_decoder", "loop"),
    "cross_references": ("cross_references",),
    "heads": ("depth_output", "depth_decoder", "ray_decoder"),
    "all_but_encoder": tuple(part for part in PARTS if part != "encoder"),
    "everything": tuple(PARTS),
}
NEVER_USED = "patch_embed_encoder.mask_token"


def build_model(source: ModelSource) -> Dvlt:
    """A new network, or a checkpoint's; with ``new_depth_head`` a checkpoint under a depth decoder of ``config``'s."""
    if source.checkpoint is None:
        model = Dvlt(source.dvlt)
        start_weights(model, source.start)
        if source.encoder_weights is not None:
            load_encoder(model.patch_embed_encoder, source.encoder_weights)
        if source.head_weights is not None:
            load_heads(model, source.head_weights)
    else:
        model = Dvlt.from_pretrained(source.checkpoint)
        if source.new_depth_head:
            model = _with_depth_head(model, source.dvlt)
        if source.new_matching:
            restart_matching(model)
    if source.references > 1:
        model = CrossReferenceDvlt.on(model, source.references)
    model.gradient_checkpointing = source.gradient_checkpointing
    return model


def load_heads(model: Dvlt, source: str) -> None:
    """Everything but the encoder and what matches by its descriptors, from a file that has nothing else.

    Raises:
        WeightsError: no such file, or not exactly these tensors.
    """
    path = locate_checkpoint(source)
    tensors = read_tensors(path)
    loose = PARTS["encoder"] + MATCHED
    expected = {name: value for name, value in model.state_dict().items() if not name.startswith(loose)}
    check_tensors(path, tensors, expected)
    model.load_state_dict(model.state_dict() | tensors)


def _with_depth_head(model: Dvlt, head: DvltConfig) -> Dvlt:
    """The same network under the depth head of another configuration; only that head starts anew."""
    config = replace(model.config, depth_head_type=head.depth_head_type, depth_head_channels=head.depth_head_channels)
    target = Dvlt(config)
    known = model.state_dict()
    for name, value in target.state_dict().items():
        if name in known and known[name].shape == value.shape:
            value.copy_(known[name])
    return target


def part_of(name: str) -> str:
    for part, prefixes in PARTS.items():
        if name.startswith(prefixes):
            return part
    raise ConfigError(f"parameter {name} belongs to no part of the network")


def freeze(model: Dvlt, mode: FinetuneMode, encoder_blocks: int | None = None) -> None:
    """Leave gradients on for the parts that ``mode`` trains; of the encoder for its last ``encoder_blocks`` alone.

    Raises:
        ConfigError: more blocks than the encoder has.
    """
    blocks = len(model.patch_embed_encoder.blocks)
    if encoder_blocks is not None and encoder_blocks > blocks:
        raise ConfigError(f"encoder_blocks is {encoder_blocks}, and the encoder has {blocks}")
    last = range(0 if encoder_blocks is None else blocks - encoder_blocks, blocks)
    moving = tuple(f"patch_embed_encoder.blocks.{number}." for number in last)
    for name, parameter in model.named_parameters():
        stays = encoder_blocks is not None and part_of(name) == "encoder" and not name.startswith(moving)
        parameter.requires_grad_(part_of(name) in MODES[mode] and name != NEVER_USED and not stays)


def groups(model: Dvlt, config: Optimizer) -> list[dict[str, object]]:
    """One optimizer group per trained part, named, with its own learning rate."""
    parts: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[part_of(name)].append(parameter)
    factors = {"encoder": config.encoder_factor}
    return [
        {"name": part, "params": parameters, "lr": config.learning_rate * factors.get(part, 1.0)}
        for part, parameters in parts.items()
        if parameters
    ]
