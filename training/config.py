"""The trainer's configuration: typed, frozen, and refused early. YAML under ``configs/`` fills it in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import dacite
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import DvltConfig

from .losses.config import LossConfig

MIXTURE_TEMPERATURE = 2.0
FinetuneMode = Literal[
    "depth_output", "depth_decoder", "depth_decoder_and_loop", "cross_references", "heads", "all_but_encoder",
    "everything",
]  # fmt: skip


@dataclass(frozen=True)
class Start:
    """How the weights of a new network start; the defaults are the published ones."""

    layer_scale: float = 0.01  # of the loop
    tokens: float = 1e-6  # standard deviation of camera and register tokens
    positions: Literal["noise", "waves"] = "noise"  # the encoder's position embedding
    descriptor_updates: int = 0  # of descriptors alone, before the rest trains; needs data.features_folder
    alike_attends: bool = False  # keys start as queries: tokens attend to what resembles them

    def __post_init__(self) -> None:
        for name in ("layer_scale", "tokens"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"model.start.{name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class ModelSource:
    """Where the network starts: a configuration of its own, or a checkpoint to go on from."""

    config: dict[str, Any] = field(default_factory=lambda: asdict(DvltConfig()))  # fields of DvltConfig
    encoder_weights: str | None = (
        None  # of a DINOv2, for a new network: Hugging Face id, directory or .safetensors file
    )
    head_weights: str | None = None  # for the rest of a new network: a .safetensors file with all of it, no encoder
    checkpoint: str | None = None  # directory, .safetensors file, Hugging Face id, "embedded"; its config wins
    new_depth_head: bool = False  # stage 2: start the convolutional depth head of `config` anew on a checkpoint
    new_matching: bool = False  # start queries and keys of global attention anew on a checkpoint, alike
    references: int = 1  # paths of a window with another reference each, which look at each other in every step
    gradient_checkpointing: bool = False
    start: Start = field(default_factory=Start)  # of a new network; a checkpoint's weights stay as they are

    def __post_init__(self) -> None:
        try:
            self.dvlt  # noqa: B018 - refuses here what the network would refuse later
        except TypeError as cause:
            raise ConfigError(f"model.config: {cause}") from cause
        for name in ("encoder_weights", "head_weights"):
            if getattr(self, name) is not None and self.checkpoint is not None:
                raise ConfigError(f"model.{name} is for a new network; model.checkpoint already has all weights")
        if self.new_depth_head and self.checkpoint is None:
            raise ConfigError("model.new_depth_head needs model.checkpoint: the weights it is put on")
        if self.new_matching and self.checkpoint is None:
            raise ConfigError("model.new_matching needs model.checkpoint; a new network has model.start.alike_attends")

    @property
    def dvlt(self) -> DvltConfig:
        return DvltConfig(**self.config)


@dataclass(frozen=True)
class Optimizer:
    """AdamW with a cosine schedule (paper, training recipe)."""

    learning_rate: float = 3e-4
    encoder_factor: float = 0.1  # the encoder's share of the learning rate
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 0
    final_factor: float = 0.0  # share of the learning rate at the end of the cosine
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999  # 0: no averaged weights

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"optimizer.{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"optimizer.ema_decay must be in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True)
class Shapes:
    """What one step sees: number of views, image size and how many scenes fit."""

    image_size: int = 504  # longer edge in pixels
    aspect: tuple[float, float] = (0.33, 1.0)  # shorter over longer edge
    portrait: float = 0.0  # chance that a batch stands upright, its height ``image_size``
    views: tuple[int, int] = (2, 18)
    images_per_step: int = 36  # per process
    tokens_per_step: int | None = 20736  # patch tokens per process; overrides images_per_step both ways

    def __post_init__(self) -> None:
        low, high = self.views
        if not 1 <= low <= high:
            raise ConfigError(f"shapes.views must be a range of at least 1, got {low} to {high}")
        if not 0 < self.aspect[0] <= self.aspect[1] <= 1:
            raise ConfigError(f"shapes.aspect must be a range in (0, 1], got {self.aspect}")
        if not 0 <= self.portrait <= 1:
            raise ConfigError(f"shapes.portrait must be in [0, 1], got {self.portrait}")


@dataclass(frozen=True)
class FolderSource:
    """Posed RGB-D sequences on disk, in any layout that `open_dataset` reads."""

    path: str
    layout: str = "auto"
    frames: tuple[int, int | None] = (0, None)  # of each sequence: [first, behind the last), null: to its end
    like: str | None = None  # a set of the published mixture, whose rules for views and depth then hold here
    ranking: Literal["index", "pose"] = "index"  # without `like`
    window_ratio: float = 4.0  # without `like`
    options: dict[str, Any] = field(default_factory=dict)  # of the layout's reader, such as intrinsics


@dataclass(frozen=True)
class Data:
    """Shares need not sum to one; a share of 0 leaves a source out."""

    synthetic_share: float = 1.0
    folder_share: float = 0.0
    folders: tuple[FolderSource, ...] = ()
    temperature: float = MIXTURE_TEMPERATURE  # a folder's part is like its images ** (1 / temperature)
    synthetic_windows: int | None = None  # distinct windows of all processes, rendered once and kept; None: endless
    photos: tuple[str, ...] = ()  # folders of photographs that dress surfaces of the synthetic scenes
    windows_folder: str | None = None  # where rendered windows are kept between runs, for all processes
    stored_views: int = 6  # of a window there
    render_beside: bool = True  # the windows that are missing, by a second process while training goes on
    features_folder: str | None = None  # where features of a frozen encoder are kept; it then runs once per image
    feature_variants: int = 2  # of every stored window, with photometric draws of their own; every second one mirrored
    prefer_far: bool = False  # pairs of views (shapes.views 2) are drawn the likelier, the wider their baseline
    compile_renderer: bool = False  # minutes to start, then many times faster, on a GPU and on a CPU
    augment: bool = True
    workers: int = 0

    def __post_init__(self) -> None:
        if self.synthetic_share < 0 or self.folder_share < 0 or self.synthetic_share + self.folder_share == 0:
            raise ConfigError(
                f"data shares must be at least 0 and not all 0, got {self.synthetic_share} and {self.folder_share}"
            )
        if self.folder_share > 0 and not self.folders:
            raise ConfigError("data.folder_share is above 0 but data.folders names no data")


@dataclass(frozen=True)
class GaussianTraining:
    """Gaussian heads, trained by rendering; nothing else trains then."""

    held_out: int = 0  # views of a window that the network is not shown; 0: no heads are trained
    unlike: float = 0.1  # weight of 1 - SSIM beside the squared error


@dataclass(frozen=True)
class Validation:
    every: int = 500  # steps
    windows: int = 32  # 0: no validation
    views: int = 6
    height: int = 126
    width: int = 168


@dataclass(frozen=True)
class TrainConfig:
    model: ModelSource = field(default_factory=ModelSource)
    optimizer: Optimizer = field(default_factory=Optimizer)
    shapes: Shapes = field(default_factory=Shapes)
    data: Data = field(default_factory=Data)
    validation: Validation = field(default_factory=Validation)
    loss: LossConfig = field(default_factory=LossConfig)
    gaussians: GaussianTraining = field(default_factory=GaussianTraining)
    trainable: FinetuneMode = "everything"
    encoder_blocks: int | None = None  # with an encoder that is trained: its last so many blocks alone; null: all of it
    total_steps: int = 200_000
    schedule_steps: int | None = None  # length of the learning rate schedule; total_steps by default
    total_minutes: float | None = None  # of all processes that go on from each other: ends the run and its schedule
    accumulation: int = 1  # batches per update
    precision: Literal["no", "bf16", "auto"] = "bf16"  # auto: bf16 where the hardware multiplies in it
    attention: Literal["fused", "products", "auto"] = "fused"  # auto: two products on a CPU that multiplies in bfloat16
    compile: bool = False  # the network's transformer blocks; minutes to start
    seed: int = 0
    output: str = "outputs/train"
    resume: bool = True  # go on from the newest state under `output`, if there is one
    save_every: int = 1000
    log_with: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    log_every: int = 10
    max_bad_steps: int = 20  # updates in a row without a finite gradient before the run stops

    def __post_init__(self) -> None:
        for name in ("total_steps", "accumulation", "save_every", "log_every", "max_bad_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.total_minutes is not None and not self.total_minutes > 0:
            raise ConfigError(f"total_minutes must be above 0, got {self.total_minutes}")
        if self.encoder_blocks is not None and (self.encoder_blocks < 1 or self.trainable != "everything"):
            got = f"{self.encoder_blocks} with trainable={self.trainable}"
            raise ConfigError(f"encoder_blocks must be at least 1, with trainable=everything, got {got}")
        if self.trainable == "cross_references" and self.model.references < 2:
            raise ConfigError(f"trainable=cross_references needs model.references above 1, got {self.model.references}")
        if self.shapes.views[0] < self.model.references:
            raise ConfigError(
                f"shapes.views must be at least model.references, got {self.shapes.views[0]} and "
                f"{self.model.references}"
            )
        if self.gaussians.held_out and self.model.checkpoint is None:
            raise ConfigError("gaussians.held_out trains heads on a trained network: name it as model.checkpoint")
        if self.gaussians.held_out and self.shapes.views[0] < self.gaussians.held_out + 2:
            raise ConfigError(
                f"shapes.views must be at least gaussians.held_out + 2, got {self.shapes.views[0]} and "
                f"{self.gaussians.held_out}"
            )
        if self.model.new_matching and self.trainable not in (
            "everything",
            "all_but_encoder",
            "depth_decoder_and_loop",
        ):
            raise ConfigError(f"model.new_matching starts weights anew that trainable={self.trainable} never trains")
        if self.data.features_folder is not None and self.trainable not in ("all_but_encoder", "heads"):
            raise ConfigError(f"data.features_folder needs a frozen encoder; trainable={self.trainable} trains it")
        if self.loss.needs_matches and self.model.gradient_checkpointing:
            raise ConfigError("loss.match and loss.displacement watch attention as it runs: no gradient_checkpointing")

    @property
    def schedule(self) -> int:
        return self.schedule_steps or self.total_steps


def from_hydra(config: DictConfig) -> TrainConfig:
    """Typed configuration from Hydra's; an unknown field, a wrong type or a refused value is named."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    try:
        return dacite.from_dict(TrainConfig, values, dacite.Config(strict=True, cast=[tuple, float]))
    except dacite.DaciteError as cause:
        raise ConfigError(f"configuration: {cause}") from cause


# `defaults: [base]` in train.yaml: every field with its default, so that the command line knows them all.
ConfigStore.instance().store(name="base", node=asdict(TrainConfig()))
