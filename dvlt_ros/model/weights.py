"""Checkpoints: a directory with ``model.safetensors`` and ``config.json``, as a configuration and its tensors."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checkpoints import shipped
from ..checkpoints.digest import digest
from ..checkpoints.download import download_checkpoint, is_url
from ..errors import ConfigError, WeightsError
from .claims import check_claims
from .config import DINOV2_SIZES, NUM_REGISTERS, DvltConfig
from .loop import TIME_CHANNELS

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
NOTICE_NAME = "NOTICE"  # beside a checkpoint with weights of others
PUBLISHED_REPO = "nvidia/dvlt"
PUBLISHED_LICENSE = (
    "the weights nvidia/dvlt are published by NVIDIA under its own licence, for non-commercial use only; "
    "the Apache-2.0 licence of dvlt_ros does not cover them"
)
PICKLE_SUFFIXES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
SAVED_TYPES = (torch.float32, torch.float16, torch.bfloat16)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was read; whether the tensors fit the network is for `check_tensors`."""

    path: Path  # of the .safetensors file
    config: DvltConfig
    tensors: Mapping[str, Tensor]  # float32, finite


def read_checkpoint(source: str | Path, revision: str | None = None) -> Checkpoint:
    """A directory, a ``.safetensors`` file, a URL or a Hugging Face repository; an absent configuration is inferred.

    Raises:
        WeightsError: no such checkpoint, or it cannot be read.
        ConfigError: its ``config.json`` is not a model's.
    """
    try:
        path = locate_checkpoint(source, revision)
        tensors = read_tensors(path)
        config_path = path.with_name(CONFIG_NAME)
        # A config that exists but is a directory or a dangling link must not pass for an absent one.
        config = DvltConfig.from_file(config_path) if os.path.lexists(config_path) else infer_config(path, tensors)
    except OSError as cause:
        raise WeightsError(f"{source}: cannot be read: {cause}") from cause
    check_claims(path, config, tensors)
    return Checkpoint(path, config, tensors)


def write_checkpoint(directory: Path, config: DvltConfig, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Writes both files, each whole or not at all; depth scales stay float32.

    Raises:
        WeightsError: see `Dvlt.save_pretrained`.
    """
    if dtype not in SAVED_TYPES:
        raise WeightsError(f"{directory}: weights are saved as one of {SAVED_TYPES}, got {dtype!r}")
    saved: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise WeightsError(f"{directory}: not saved: tensor {name} is {value.dtype}, expected floating point")
        saved[name] = value.to("cpu", torch.float32 if ".depth_scale." in name else dtype).contiguous()
        if not torch.isfinite(saved[name]).all():
            raise WeightsError(f"{directory}: not saved: tensor {name} has NaN or infinite values as {dtype}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_files(directory, saved, json.dumps(config.to_dict(), indent=2) + "\n")
    except (OSError, SafetensorError) as cause:
        raise WeightsError(f"{directory}: cannot be written: {cause}") from cause


def _write_files(directory: Path, tensors: dict[str, Tensor], config: str) -> None:
    with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as scratch:
        new_weights, new_config = Path(scratch, WEIGHTS_NAME), Path(scratch, CONFIG_NAME)
        save_file(tensors, new_weights, metadata={"format": "pt"})
        new_config.write_text(config)
        shutil.copymode(new_config, new_weights)  # safetensors writes for its owner alone
        os.replace(new_config, directory / CONFIG_NAME)
        os.replace(new_weights, directory / WEIGHTS_NAME)


def locate_checkpoint(source: str | Path, revision: str | None = None) -> Path:
    """The ``.safetensors`` file of a directory, a file, a URL or a Hugging Face repository (downloaded if needed).

    What ships with the package has names: "dvlt-nano" for example, and "embedded" for the default.
    """
    if isinstance(source, str) and is_url(source):
        return download_checkpoint(source)
    path = shipped(source) or Path(os.path.expanduser(source))
    if path.is_dir():
        if os.path.lexists(path / WEIGHTS_NAME):
            return path / WEIGHTS_NAME
        raise WeightsError(f"{path}: no {WEIGHTS_NAME} in this directory{_pickles_beside(path)}")
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise WeightsError(f"{path}: pickled checkpoints can run code and are never read; convert it to .safetensors")
    if path.suffix == ".safetensors":
        return path
    if path.exists():
        raise WeightsError(f"{path}: a checkpoint file must be .safetensors")
    if isinstance(source, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source):
        return _download(source, revision)
    raise WeightsError(f"{source}: no such directory or file, and not a Hugging Face repository id (owner/name)")


def digest_of(source: str | Path) -> str:
    """SHA-256 of a checkpoint's file.

    Raises:
        WeightsError: no such checkpoint, or it cannot be read.
    """
    return digest(locate_checkpoint(source))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file as float32; refuses truncated files, pickles and values that are not finite."""
    try:
        stored = load_file(path)
    except OSError as cause:
        raise WeightsError(f"{path}: cannot be read: {cause}") from cause
    except (SafetensorError, ValueError) as cause:
        raise WeightsError(f"{path}: truncated or not a safetensors file: {cause}") from cause
    return {name: _as_float32(path, name, value) for name, value in stored.items()}


def _as_float32(path: Path, name: str, stored: Tensor) -> Tensor:
    """A copy in memory of its own: what is stored may be a view of the file, which others can overwrite."""
    if not stored.is_floating_point():
        raise WeightsError(f"{path}: tensor {name} is {stored.dtype}, expected floating point")
    try:
        value = stored.to(torch.float32, copy=True)
    except NotImplementedError as cause:  # packed types
        raise WeightsError(f"{path}: tensor {name} is {stored.dtype}, which cannot be converted to float32") from cause
    if not torch.isfinite(value).all():
        raise WeightsError(f"{path}: tensor {name} has NaN or infinite values (from {stored.dtype} to float32)")
    return value


def check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Exactly the expected names and shapes, or a WeightsError that lists what differs."""
    wrong = [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    differences = {
        "missing tensors": [name for name in expected if name not in tensors],
        "unexpected tensors": [name for name in tensors if name not in expected],
        "misshaped tensors": wrong,
    }
    problems = [f"{kind}: {_shortened(names)}" for kind, names in differences.items() if names]
    if problems:
        raise WeightsError(f"{path}: does not fit the network; {'; '.join(problems)}")


def infer_config(path: Path, tensors: Mapping[str, Tensor]) -> DvltConfig:
    """Recognize a checkpoint that came without a ``config.json`` by its tensors' names and shapes."""
    try:
        return DvltConfig.from_dict(_infer_fields(_Shapes(path, tensors)))
    except ConfigError as cause:
        raise WeightsError(f"{path}: no {CONFIG_NAME} beside it, and its shapes are no Dvlt's: {cause}") from cause


@dataclass(frozen=True)
class _Shapes:
    """Shapes of a checkpoint that has to tell its own configuration; what is missing or odd is named."""

    path: Path
    tensors: Mapping[str, Tensor]

    def axis(self, name: str, axis: int, multiple_of: int = 1) -> int:
        """Length of one axis of a tensor, at least 1."""
        if name not in self.tensors:
            raise self._unknown(f"missing tensors: {name}")
        shape = tuple(self.tensors[name].shape)
        if not -len(shape) <= axis < len(shape) or shape[axis] == 0 or shape[axis] % multiple_of:
            needed = f"a positive multiple of {multiple_of}" if multiple_of > 1 else "positive"
            raise self._unknown(f"tensor {name} is {shape}, where axis {axis} must be {needed}")
        return shape[axis]

    def count(self, prefix: str) -> int:
        """How many numbered modules ``prefix0``, ``prefix1``, ... there are, at least 1."""
        numbers = {name[len(prefix) :].split(".")[0] for name in self.tensors if name.startswith(prefix)}
        if not numbers:
            raise self._unknown(f"missing tensors: {prefix}0")
        return len(numbers)

    def _unknown(self, problem: str) -> WeightsError:
        return WeightsError(f"{self.path}: no {CONFIG_NAME} beside it, and not recognized: {problem}")


def _infer_fields(shapes: _Shapes) -> dict[str, object]:
    shapes.axis("camera_token", -1)  # of another network: say so by the tensor that no other has
    head_dim = shapes.axis("recurrent_blocks.0.frame_attn.attn.q_norm.weight", 0, multiple_of=4)
    dim = shapes.axis("camera_token", -1, multiple_of=head_dim)
    decoder_head_dim = shapes.axis("ray_decoder.blocks.0.attn.q_norm.weight", 0, multiple_of=4)
    decoder_dim = shapes.axis("ray_decoder.proj_in.weight", 0, multiple_of=decoder_head_dim)
    encoder_depth = shapes.count("patch_embed_encoder.blocks.")
    registers = NUM_REGISTERS if "patch_embed_encoder.register_tokens" in shapes.tensors else 0
    sizes = {size: name for name, size in DINOV2_SIZES.items() if name.endswith("_reg") == bool(registers)}
    patch_embed = sizes.get((dim, dim // head_dim, encoder_depth), "vit14_reg")
    values: dict[str, object] = {
        "embed_dim": dim,
        "num_heads": dim // head_dim,
        "patch_embed": patch_embed,
        "encoder_depth": encoder_depth if patch_embed == "vit14_reg" else None,
        "encoder_registers": registers,
        "encoder_antialias": bool(registers),  # as DINOv2 has it; shapes do not tell
        "decoder_embed_dim": decoder_dim,
        "decoder_num_heads": decoder_dim // decoder_head_dim,
        "decoder_depth": shapes.count("ray_decoder.blocks."),
        "depth_head_type": "linear" if "depth_decoder.head.weight" in shapes.tensors else "conv",
    }
    if values["depth_head_type"] == "conv":
        stages = [f"depth_decoder.upsample_blocks.{i}.0.0.weight" for i in range(3)]
        values["depth_head_channels"] = tuple(shapes.axis(stage, 1, multiple_of=16) for stage in stages)
    return values | _infer_recurrence(shapes, dim)


def _infer_recurrence(shapes: _Shapes, dim: int) -> dict[str, object]:
    num_blocks = shapes.count("recurrent_blocks.")
    if num_blocks > 1:
        return {"recurrence_mode": "none", "k_sampling": None, "num_steps": num_blocks, "min_steps": num_blocks}
    first, last = (f"recurrent_blocks.0.frame_attn.depth_scale.proj.{i}.weight" for i in (0, 2))
    if first not in shapes.tensors and last not in shapes.tensors:
        return {"recurrence_mode": "no_depthscale"}
    return {
        "recurrence_mode": "gated" if shapes.axis(last, 0) == 3 * dim else "no_sout",
        "time_conditioning": "continuous" if shapes.axis(first, 1) == TIME_CHANNELS else "interval",
    }


def _download(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # only where a hub is asked for

    if repo_id == PUBLISHED_REPO:
        logger.warning(PUBLISHED_LICENSE)
    try:
        folder = snapshot_download(repo_id, revision=revision, allow_patterns=[WEIGHTS_NAME, CONFIG_NAME])
    except Exception as cause:  # the hub's client raises errors of several libraries; all mean: no checkpoint
        raise WeightsError(
            f"{repo_id}: not in the local cache and not to be had from the Hugging Face hub "
            f"({type(cause).__name__}: {cause}); without a network, pass a directory with {WEIGHTS_NAME}"
        ) from cause
    return locate_checkpoint(Path(folder))


def _pickles_beside(directory: Path) -> str:
    pickles = sorted(file.name for file in directory.iterdir() if file.suffix in PICKLE_SUFFIXES)
    return f" ({', '.join(pickles)}: pickled checkpoints are never read)" if pickles else ""


def _shortened(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
