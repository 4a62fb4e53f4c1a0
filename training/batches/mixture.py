"""Mixtures of data sets: what each set contributes, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from dvlt_ros.errors import ConfigError

from ..config import MIXTURE_TEMPERATURE
from .augment import DepthRule
from .sampling import ViewRule

PUBLISHED = Path(__file__).parents[1] / "configs" / "mixture.yaml"


@dataclass(frozen=True)
class MixtureSet:
    """One data set of a mixture."""

    name: str
    images: int
    repeat: float  # passes over its sequences per epoch
    views: ViewRule = field(default_factory=ViewRule)
    depth: DepthRule = field(default_factory=DepthRule)
    cameras: tuple[int, ...] | None = None  # of a rig; None: all

    def __post_init__(self) -> None:
        for name in ("images", "repeat"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"mixture set {self.name}: {name} must be above 0, got {getattr(self, name)}")


def load_mixture(path: str | Path = PUBLISHED) -> tuple[MixtureSet, ...]:
    """The sets of a mixture file, by default the published 29, in the file's order.

    Raises:
        ConfigError: an unreadable file, or an unknown or impossible value, named with the file and the set.
    """
    try:
        table = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a readable mixture: {error}") from error
    if not isinstance(table, dict) or not table:
        raise ConfigError(f"{path}: a mixture maps names of data sets to their values")
    return tuple(_mixture_set(name, values, path) for name, values in table.items())


def mixture_set(name: str) -> MixtureSet:
    """A set of the published mixture. Raises ConfigError: there is none of this name."""
    known = {entry.name: entry for entry in load_mixture()}
    if name not in known:
        raise ConfigError(f"the published mixture has no set {name!r}; it has {', '.join(known)}")
    return known[name]


def _mixture_set(name: str, values: object, path: str | Path) -> MixtureSet:
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {name}: expected fields, got {values!r}")
    rest = dict(values)
    take = lambda cls: cls(**{key: rest.pop(key) for key in cls.__dataclass_fields__ if key in rest})  # noqa: E731
    try:
        views, depth = take(ViewRule), take(DepthRule)
        if "cameras" in rest:
            rest["cameras"] = tuple(rest["cameras"])
        return MixtureSet(name, views=views, depth=depth, **rest)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{path}: {name}: {error}") from error


def shares(images: Sequence[float], temperature: float = MIXTURE_TEMPERATURE) -> np.ndarray:
    """Probability (D,) of each data set, proportional to images ** (1 / temperature)."""
    if not temperature > 0 or not len(images) or min(images) <= 0:
        raise ConfigError(f"shares need temperature and images above 0, got {temperature} and {list(images)}")
    weights = np.asarray(images, dtype=np.float64) ** (1 / temperature)
    return weights / weights.sum()


def repeat_factors(probabilities: Sequence[float], lengths: Sequence[int]) -> np.ndarray:
    """Repeat factors (D,) that give sets of these numbers of sequences these shares; the smallest is 1."""
    if len(probabilities) != len(lengths) or not len(lengths) or min(lengths) < 1 or min(probabilities) <= 0:
        raise ConfigError(f"every set needs sequences and a share, got {list(probabilities)} and {list(lengths)}")
    factors = np.asarray(probabilities, dtype=np.float64) / np.asarray(lengths)
    return factors / factors.min()
