"""Which data sets a preset has, and what the published protocol decides for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from dvlt_ros.errors import ConfigError

from .reconstruction import ReconstructionRule

Preset = Literal["benchmark", "benchmark_lite"]
Thresholds = Literal["published", "metric"]

PRESETS: dict[Preset, tuple[str, ...]] = {
    "benchmark": ("dtu", "eth3d", "sevenscenes", "scannetpp", "nuscenes"),
    "benchmark_lite": ("dtu", "eth3d", "sevenscenes"),
}


@dataclass(frozen=True)
class SetRule:
    """A data set without an entry in `RULES` is in metres and has the protocol's defaults."""

    unit: str = "m"
    reconstruction: dict[Thresholds, ReconstructionRule] = field(
        default_factory=lambda: dict.fromkeys(get_args(Thresholds), ReconstructionRule())
    )
    note: str = ""


def _same(rule: ReconstructionRule) -> dict[Thresholds, ReconstructionRule]:
    return {"published": rule, "metric": rule}


RULES = {
    "dtu": SetRule(
        unit="mm",
        reconstruction={
            "published": ReconstructionRule(voxel=0.001, icp_radius=100.0, threshold=0.001),
            "metric": ReconstructionRule(voxel=1.0, icp_radius=100.0, threshold=1.0),
        },
        note="The published voxel and F1 threshold, 0.001, are as if they were metres: under them F1 says nothing. "
        "`--reconstruction metric` takes 1 mm.",
    ),
    "eth3d": SetRule(reconstruction=_same(ReconstructionRule(threshold=0.25))),
    "scannetpp": SetRule(reconstruction=_same(ReconstructionRule(voxel=0.02))),
}


def chosen_sets(preset: Preset | None, names: list[str] | None, known: list[str]) -> tuple[str, ...]:
    """The data sets to evaluate, named or of a preset.

    Raises:
        ConfigError: a name that no loader has.
    """
    chosen = tuple(names) if names else PRESETS[preset or "benchmark"]
    if unknown := [name for name in chosen if name not in known]:
        raise ConfigError(f"no data set {', '.join(unknown)}; there are {', '.join(known)}")
    return chosen
