"""Configuration of the Déjà View model, in the field names of the published checkpoints."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from ..errors import ConfigError, WeightsError

PATCH_SIZE = 14
NUM_REGISTERS = 4
UNMEASURED_CUT_SHARE = 0.1  # of checkpoints whose confidence has not been measured
POSITION_GRID = 37  # the position embedding covers 37 x 37 patches, an image of 518 x 518 pixels

RecurrenceMode = Literal["gated", "no_sout", "no_depthscale", "none"]
TimeConditioning = Literal["interval", "continuous"]
DepthHead = Literal["linear", "conv"]
PatchEmbed = Literal[
    "dinov2_vits14_reg", "dinov2_vitb14_reg", "dinov2_vitl14_reg", "vit14_reg",
    "dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14",
]  # fmt: skip

# patch_embed: (embed_dim, num_heads, encoder blocks). "vit14_reg" is any other size of the same network, and the
# names without "_reg" are those without register tokens.
DINOV2_SIZES: dict[str, tuple[int, int, int]] = {
    "dinov2_vits14_reg": (384, 6, 12),
    "dinov2_vitb14_reg": (768, 12, 12),
    "dinov2_vitl14_reg": (1024, 16, 24),
    "dinov2_vits14": (384, 6, 12),
    "dinov2_vitb14": (768, 12, 12),
    "dinov2_vitl14": (1024, 16, 24),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DvltConfig:
    """Every choice that a checkpoint makes. The defaults are the released model, 117 M parameters.

    The first group has the published names and meanings. The second group is this package's own and is
    written to a ``config.json`` only where it differs, so that other loaders never meet it.

    Raises:
        ConfigError: a value that no network can be built from, named with its field.
    """

    embed_dim: int = 768
    num_heads: int = 12
    patch_embed: PatchEmbed = "dinov2_vitb14_reg"
    decoder_embed_dim: int = 384
    decoder_num_heads: int = 6
    decoder_depth: int = 2
    num_steps: int = 16  # K_max of training, and the default K
    min_steps: int = 8  # K_min of training
    recurrence_mode: RecurrenceMode = "gated"
    time_conditioning: TimeConditioning = "interval"
    k_sampling: Literal["linspace"] | None = "linspace"
    decoder_head_type: Literal["linear"] = "linear"
    depth_head_type: DepthHead = "conv"

    encoder_depth: int | None = None  # blocks of the encoder; None: as patch_embed says
    encoder_registers: Literal[0, 4] = 4  # register tokens of the encoder; the loop always has four of its own
    encoder_antialias: bool = True  # of position embeddings on smaller grids; DINOv2 without registers has none
    match_taps: tuple[int, ...] = ()  # encoder blocks whose tokens, too, make descriptors for matching; none: none
    match_channels: int = 64  # of a descriptor
    depth_head_channels: tuple[int, int, int] = (256, 128, 64)  # stages of the convolutional depth head
    drop_path: float = 0.1  # stochastic depth of the looped block, in training only
    image_size: int = 504  # longest edge in pixels that the weights are meant for
    confidence_cut_share: float = UNMEASURED_CUT_SHARE  # of an image's pixels, the least confident: better left out

    def __post_init__(self) -> None:
        for name in ("depth_head_channels", "match_taps"):
            values: Any = getattr(self, name)
            if isinstance(values, list):  # as JSON and YAML have it
                object.__setattr__(self, name, tuple(values))
        self._check_choices()
        self._check_widths()
        self._check_steps()

    @property
    def num_encoder_blocks(self) -> int:
        if self.encoder_depth is not None:
            return self.encoder_depth
        return DINOV2_SIZES[self.patch_embed][2]

    @property
    def num_descriptor_channels(self) -> int:
        """Channels of features beside ``embed_dim``: descriptors to match by, if there are any."""
        return self.match_channels if self.match_taps else 0

    @property
    def num_loop_blocks(self) -> int:
        """Blocks with weights of their own: one, or K for the decoupled ablation."""
        return self.num_steps if self.recurrence_mode == "none" else 1

    @property
    def num_scales(self) -> int:
        """How many of ``s_attn, s_mlp, s_out`` a sub-block has."""
        return {"gated": 3, "no_sout": 2, "no_depthscale": 0, "none": 0}[self.recurrence_mode]

    def _check_choices(self) -> None:
        hints = get_type_hints(DvltConfig)
        for field in fields(self):
            value, choices = getattr(self, field.name), _literal_choices(hints[field.name])
            if choices and value not in choices:
                raise ConfigError(f"{field.name} must be one of {choices}, got {value!r}")

    def _check_widths(self) -> None:
        for name in ("embed_dim", "num_heads", "decoder_embed_dim", "decoder_num_heads", "decoder_depth"):
            _check_positive(name, getattr(self, name))
        _check_heads("embed_dim", self.embed_dim, "num_heads", self.num_heads)
        _check_heads("decoder_embed_dim", self.decoder_embed_dim, "decoder_num_heads", self.decoder_num_heads)
        if self.patch_embed in DINOV2_SIZES:
            dim, heads, _ = DINOV2_SIZES[self.patch_embed]
            if (self.embed_dim, self.num_heads) != (dim, heads):
                raise ConfigError(
                    f"patch_embed {self.patch_embed} has embed_dim {dim} and num_heads {heads}, got "
                    f"{self.embed_dim} and {self.num_heads}; use patch_embed 'vit14_reg' for another size"
                )
            registers = NUM_REGISTERS if self.patch_embed.endswith("_reg") else 0
            if self.encoder_registers != registers:
                raise ConfigError(
                    f"patch_embed {self.patch_embed} has encoder_registers {registers}, got {self.encoder_registers}"
                )
        elif self.encoder_depth is None:
            raise ConfigError(f"patch_embed {self.patch_embed} needs encoder_depth")
        if self.encoder_depth is not None:
            _check_positive("encoder_depth", self.encoder_depth)
        if not isinstance(self.encoder_antialias, bool):
            raise ConfigError(f"encoder_antialias must be true or false, got {self.encoder_antialias!r}")
        _check_positive("match_channels", self.match_channels)
        last = self.num_encoder_blocks
        if not isinstance(self.match_taps, tuple) or not all(
            isinstance(tap, int) and 1 <= tap <= last for tap in self.match_taps
        ):
            raise ConfigError(f"match_taps must be numbers of encoder blocks from 1 to {last}, got {self.match_taps}")
        channels = self.depth_head_channels
        three = isinstance(channels, tuple) and len(channels) == 3 and all(isinstance(c, int) for c in channels)
        if not three or any(c < 16 or c % 16 for c in channels):
            raise ConfigError(f"depth_head_channels must be three multiples of 16, got {self.depth_head_channels}")

    def _check_steps(self) -> None:
        _check_positive("min_steps", self.min_steps)
        _check_positive("num_steps", self.num_steps)
        if self.num_steps < self.min_steps:
            raise ConfigError(f"num_steps {self.num_steps} is below min_steps {self.min_steps}")
        if self.recurrence_mode == "none" and self.min_steps != self.num_steps:
            raise ConfigError(
                "recurrence_mode 'none' has one number of steps: min_steps must equal num_steps, got "
                f"{self.min_steps} and {self.num_steps}"
            )
        if not isinstance(self.drop_path, int | float) or not 0 <= self.drop_path < 1:
            raise ConfigError(f"drop_path must be in [0, 1), got {self.drop_path!r}")
        _check_positive("image_size", self.image_size)
        if self.image_size % PATCH_SIZE:
            raise ConfigError(f"image_size must be a multiple of {PATCH_SIZE}, got {self.image_size}")
        share = self.confidence_cut_share
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share < 1:
            raise ConfigError(f"confidence_cut_share must be in [0, 1), got {share!r}")

    def to_dict(self) -> dict[str, Any]:
        """The content of ``config.json``: published fields always, our own where they differ."""
        released = asdict(DvltConfig())
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in _OWN_FIELDS or v != released[k]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DvltConfig:
        """Absent fields mean the released configuration; fields of other software are named in a warning."""
        known = {field.name for field in fields(cls)}
        if ignored := sorted(set(values) - known):
            logger.warning("config fields that this package does not know are ignored: %s", ", ".join(ignored))
        return cls(**{k: v for k, v in values.items() if k in known})

    @classmethod
    def from_file(cls, path: Path) -> DvltConfig:
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as cause:
            raise WeightsError(f"{path}: not a readable JSON file: {cause}") from cause
        if not isinstance(values, dict):
            raise WeightsError(f"{path}: expected a JSON object, got {type(values).__name__}")
        try:
            return cls.from_dict(values)
        except ConfigError as cause:
            raise WeightsError(f"{path}: {cause}") from cause


_OWN_FIELDS = {
    "encoder_depth", "encoder_registers", "encoder_antialias", "match_taps", "match_channels",
    "depth_head_channels", "drop_path", "image_size", "confidence_cut_share",
}  # fmt: skip


def _literal_choices(hint: Any) -> tuple[Any, ...]:
    """Values that a Literal, or an optional Literal, admits; empty for every other type."""
    choices: list[Any] = []
    for part in (hint, *get_args(hint)):
        if getattr(part, "__origin__", None) is Literal:
            choices += get_args(part)
    return (*choices, None) if choices and type(None) in get_args(hint) else tuple(choices)


def _check_positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}")


def _check_heads(dim_name: str, dim: int, heads_name: str, heads: int) -> None:
    if dim % heads or (dim // heads) % 4:
        raise ConfigError(
            f"{dim_name} must be {heads_name} times a multiple of 4 (2D RoPE turns quarters of a head), "
            f"got {dim} and {heads}"
        )
