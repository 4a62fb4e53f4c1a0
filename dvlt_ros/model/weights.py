"""Checkpoints: a directory with ``model.safetensors`` and ``config.json``, read strictly or not at all."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import ConfigError, WeightsError
from .config import DINOV2_SIZES, DvltConfig
from .dvlt import Dvlt
from .loop import TIME_CHANNELS

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
PUBLISHED_REPO = "nvidia/dvlt"
PUBLISHED_LICENSE = (
    "the weights nvidia/dvlt are published by NVIDIA under its own licence, for non-commercial use only; "
    "the Apache-2.0 licence of dvlt_ros does not cover them"
)
PICKLE_SUFFIXES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}

logger = logging.getLogger(__name__)


def load_checkpoint(source: str | Path, revision: str | None = None) -> Dvlt:
    """See `Dvlt.from_pretrained`."""
    path = locate_checkpoint(source, revision)
    tensors = read_tensors(path)
    config_path = path.with_name(CONFIG_NAME)
    config = DvltConfig.from_file(config_path) if config_path.is_file() else infer_config(path, tensors)
    with torch.device("meta"):  # costs no memory, whatever size the configuration claims
        expected = Dvlt(config).state_dict()
    check_tensors(path, tensors, expected)
    model = Dvlt(config)
    model.load_state_dict(tensors)
    return model.eval()


def save_checkpoint(model: Dvlt, directory: Path, dtype: torch.dtype) -> None:
    """See `Dvlt.save_pretrained`. Each file appears whole or not at all; depth scales stay float32."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().to("cpu", torch.float32 if ".depth_scale." in name else dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    config = json.dumps(model.config.to_dict(), indent=2) + "\n"
    with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as scratch:
        save_file(tensors, Path(scratch, WEIGHTS_NAME), metadata={"format": "pt"})
        Path(scratch, CONFIG_NAME).write_text(config)
        shutil.copymode(
            Path(scratch, CONFIG_NAME), Path(scratch, WEIGHTS_NAME)
        )  # safetensors writes for its owner alone
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            os.replace(Path(scratch, name), directory / name)


def locate_checkpoint(source: str | Path, revision: str | None = None) -> Path:
    """The ``.safetensors`` file of a directory, a file, or a Hugging Face repository (downloaded if needed)."""
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / WEIGHTS_NAME).is_file():
            return path / WEIGHTS_NAME
        raise WeightsError(f"{path}: no {WEIGHTS_NAME} in this directory{_pickles_beside(path)}")
    if path.suffix in PICKLE_SUFFIXES:
        raise WeightsError(f"{path}: pickled checkpoints can run code and are never read; convert it to .safetensors")
    if path.is_file():
        if path.suffix != ".safetensors":
            raise WeightsError(f"{path}: a checkpoint file must be .safetensors")
        return path
    if isinstance(source, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source) and not path.suffix:
        return _download(source, revision)
    raise WeightsError(f"{source}: no such directory or file, and not a Hugging Face repository id (owner/name)")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file as float32; refuses truncated files, pickles and values that are not finite."""
    try:
        tensors = load_file(path)
    except OSError as cause:
        raise WeightsError(f"{path}: cannot be read: {cause}") from cause
    except (SafetensorError, ValueError) as cause:
        raise WeightsError(f"{path}: truncated or not a safetensors file: {cause}") from cause
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise WeightsError(f"{path}: tensor {name} is {value.dtype}, expected floating point")
        if not torch.isfinite(value).all():
            raise WeightsError(f"{path}: tensor {name} has NaN or infinite values")
    return {name: value.float() for name, value in tensors.items()}


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
    """Recognise a checkpoint that came without a ``config.json`` by its tensors' names and shapes."""
    try:
        return DvltConfig.from_dict(_infer_fields(path, tensors))
    except (ConfigError, IndexError, ZeroDivisionError) as cause:
        raise WeightsError(f"{path}: no {CONFIG_NAME} beside it, and its shapes are no Dvlt's: {cause}") from cause


def _infer_fields(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise WeightsError(f"{path}: no {CONFIG_NAME} beside it, and not recognised: missing tensors: {name}")
        return tensors[name].shape

    def count(prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})

    dim, decoder_dim = shape("camera_token")[-1], shape("ray_decoder.proj_in.weight")[0]
    num_heads = dim // shape("recurrent_blocks.0.frame_attn.attn.q_norm.weight")[0]
    encoder_depth = count("patch_embed_encoder.blocks.")
    sizes = {size: name for name, size in DINOV2_SIZES.items()}
    patch_embed = sizes.get((dim, num_heads, encoder_depth), "vit14_reg")
    values: dict[str, object] = {
        "embed_dim": dim,
        "num_heads": num_heads,
        "patch_embed": patch_embed,
        "encoder_depth": encoder_depth if patch_embed == "vit14_reg" else None,
        "decoder_embed_dim": decoder_dim,
        "decoder_num_heads": decoder_dim // shape("ray_decoder.blocks.0.attn.q_norm.weight")[0],
        "decoder_depth": count("ray_decoder.blocks."),
        "depth_head_type": "linear" if "depth_decoder.head.weight" in tensors else "conv",
    }
    if values["depth_head_type"] == "conv":
        stages = [shape(f"depth_decoder.upsample_blocks.{i}.0.0.weight")[1] for i in range(3)]
        values["depth_head_channels"] = tuple(stages)
    return values | _infer_recurrence(count("recurrent_blocks."), dim, tensors)


def _infer_recurrence(num_blocks: int, dim: int, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    if num_blocks > 1:
        return {"recurrence_mode": "none", "k_sampling": None, "num_steps": num_blocks, "min_steps": num_blocks}
    scale = "recurrent_blocks.0.frame_attn.depth_scale.proj."
    if f"{scale}0.weight" not in tensors or f"{scale}2.weight" not in tensors:
        return {"recurrence_mode": "no_depthscale"}
    continuous = tensors[f"{scale}0.weight"].shape[1] == TIME_CHANNELS
    return {
        "recurrence_mode": "gated" if tensors[f"{scale}2.weight"].shape[0] == 3 * dim else "no_sout",
        "time_conditioning": "continuous" if continuous else "interval",
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
