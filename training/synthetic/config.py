"""What to render, with every default of the synthetic source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dvlt_ros.errors import ConfigError

from .scene.layouts import FAMILIES

Family = Literal["room", "corridor", "warehouse", "tabletop"]
Motion = Literal["wheeled", "legged", "handheld"]
MOTIONS: tuple[Motion, ...] = ("wheeled", "legged", "handheld")


@dataclass(frozen=True)
class AugmentConfig:
    """Photometric augmentation; amplitudes are upper bounds, 0 switches an effect off."""

    exposure: float = 0.45  # stops
    gamma: float = 0.2  # relative
    white_balance: float = 0.15  # relative gain of red and blue
    saturation: float = 0.35  # relative
    vignetting: float = 0.4  # darkening in the corner
    noise: float = 0.035  # standard deviation at full signal
    blur: float = 0.9  # pixels, Gaussian sigma
    motion_blur: float = 0.025  # share of the image width
    blocks: float = 0.03  # rounding step of an 8x8 cosine transform, as in JPEG
    shared: float = 0.7  # chance that one draw serves all views of a window

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"augment.{name} must be in [0, 1], got {value}")


@dataclass(frozen=True)
class SyntheticConfig:
    """Synthetic windows; sizes can be overridden per call."""

    views: int = 6
    height: int = 126  # pixels
    width: int = 168  # pixels
    split: Literal["train", "benchmark"] = "train"
    families: tuple[Family, ...] = ("room", "corridor", "warehouse", "tabletop")
    family_weights: tuple[float, ...] = (0.4, 0.12, 0.13, 0.35)
    motions: tuple[Motion, ...] = MOTIONS
    motion_weights: tuple[float, ...] = (0.2, 0.15, 0.65)
    min_fov_deg: float = 45.0  # horizontal
    max_fov_deg: float = 95.0
    principal_shift: float = 0.02  # of the image size
    candidates: int = 16  # paths tried per window; the best collision-free one is kept
    supersample: int = 1  # colour rays per pixel and axis; depth is always the pixel centre's
    shadows: bool = True
    occlusion: bool = True
    smooth_edges: bool = True  # blends colours across outlines, as a lens does
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name, low in (("views", 1), ("height", 8), ("width", 8), ("candidates", 1), ("supersample", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.split not in ("train", "benchmark"):
            raise ConfigError(f"split must be 'train' or 'benchmark', got {self.split!r}")
        _check_mixture("families", self.families, self.family_weights, FAMILIES)
        _check_mixture("motions", self.motions, self.motion_weights, MOTIONS)
        if not 10 <= self.min_fov_deg <= self.max_fov_deg <= 120:
            raise ConfigError(f"10 <= min_fov_deg <= max_fov_deg <= 120, got {self.min_fov_deg}, {self.max_fov_deg}")
        if not 0 <= self.principal_shift <= 0.2:
            raise ConfigError(f"principal_shift must be in [0, 0.2], got {self.principal_shift}")


def _check_mixture(name: str, entries: tuple, weights: tuple[float, ...], known: tuple) -> None:
    unknown = [entry for entry in entries if entry not in known]
    if unknown or not entries:
        raise ConfigError(f"{name} must name some of {known}, got {entries}")
    if len(weights) != len(entries) or min(weights) < 0 or sum(weights) <= 0:
        raise ConfigError(f"{name} has {len(entries)} entries, its weights are {weights}")
