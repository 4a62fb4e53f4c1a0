"""Parameters of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...backends import DEFAULT_MODEL, model_card
from ...errors import ConfigError
from ...model.config import PATCH_SIZE
from ...parameters import check_parameters, parameter
from ..data.turn import ImageRotation

ModelPrecision = Literal["auto", "float32", "bfloat16", "int8"]
ModelRuntime = Literal["torch", "onnxruntime", "tensorrt"]


@dataclass(frozen=True)
class ModelConfig:
    """Which network sees the images, and on which device."""

    GROUP: ClassVar[str] = "model"
    name: str = parameter(DEFAULT_MODEL, "which model: dvlt, or one of docs/how-to/other-models.md")
    weights: str = parameter(
        "",
        "checkpoint: directory, .safetensors file, https URL or Hugging Face id; empty: the model's own (embedded)",
    )
    device: str = parameter("auto", "cpu, cuda, cuda:1, ...; auto: the GPU if there is one")
    precision: ModelPrecision = parameter(
        "auto",
        "what the network multiplies in; auto: bfloat16 autocast on a GPU, on a CPU the fastest that it has "
        "instructions for; int8: CPU only",
    )
    runtime: ModelRuntime = parameter(
        "torch", "what runs the network; the others run the folder that dvlt_export has written, given as model.weights"
    )
    settled_update: float = parameter(
        0.0,
        "relative change of the state, as dvlt_probe learns it, at which the loop counts as settled and ends before K; "
        "0, and with several reference views: it takes all K steps",
        0.0,
        1.0,
        expert=True,
    )
    image_size: int = parameter(
        0, "network's longest edge in pixels, a multiple of 14; 0: the checkpoint's own", 0, 2044
    )
    image_rotation: ImageRotation = parameter(
        "auto",
        "clockwise degrees that turn images for the network; auto: those in portrait format, which it knows least",
    )
    max_gpu_memory_mb: int = parameter(
        0, "what this process may take of the GPU's memory; 0: all", 0, 1_000_000, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        model_card(self.name)
        if self.runtime != "torch" and not self.weights:
            raise ConfigError(f"model.runtime {self.runtime} needs a folder of exported graphs as model.weights")
        if self.runtime != "torch" and self.precision != "auto":
            raise ConfigError(f"exported graphs have a precision of their own: model.precision is {self.precision}")
        if self.settled_update and self.name != DEFAULT_MODEL:
            raise ConfigError(f"model.settled_update is for {DEFAULT_MODEL}, whose loop can end early, not {self.name}")
        if self.image_size % PATCH_SIZE:
            raise ConfigError(f"model.image_size must be a multiple of {PATCH_SIZE}, got {self.image_size}")
