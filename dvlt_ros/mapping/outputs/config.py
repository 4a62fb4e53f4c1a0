"""Heights of obstacles: of the cloud of every frame and of the map's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigError
from ...parameters import check_parameters, parameter


@dataclass(frozen=True)
class ObstaclesConfig:
    """Heights of obstacles."""

    GROUP: ClassVar[str] = "obstacles"
    min_height_m: float = parameter(0.05, "what is lower is ground", -10.0, 100.0, live=True)
    max_height_m: float = parameter(2.0, "under what is higher the robot fits", -10.0, 100.0, live=True)

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.min_height_m >= self.max_height_m:
            raise ConfigError(
                f"obstacles.max_height_m must be above obstacles.min_height_m, got {self.max_height_m} and "
                f"{self.min_height_m}"
            )
