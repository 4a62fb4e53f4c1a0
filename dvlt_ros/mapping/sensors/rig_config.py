"""Parameters of several cameras on one body."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigError
from ...parameters import check_parameters, parameter

NAME = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class RigConfig:
    """Synchronization of a rig's cameras, and limits for their mounts."""

    GROUP: ClassVar[str] = "cameras"
    names: tuple[str, ...] = parameter(
        (), "names of several cameras on one robot, each with topics of its own: left/image; empty: one camera, image"
    )
    tolerance_s: float = parameter(
        0.01, "stamps this close are one frame set; below half the time between two frames", 0.0, 1.0, expert=True
    )
    patience_s: float = parameter(
        1.0, "a camera that is silent for longer is not waited for until it comes back", 0.05, 60.0, expert=True
    )
    max_residual_deg: float = parameter(
        5.0, "cameras that are seen this far from their mounts: the mounts are not believed", 0.1, 180.0, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        if len(self.names) == 1 or len(set(self.names)) < len(self.names):
            raise ConfigError(f"cameras.names must be empty or two names or more, each once, got {list(self.names)}")
        if unfit := [name for name in self.names if not NAME.fullmatch(name)]:
            raise ConfigError(f"cameras.names must be names of topics (letters, digits, _ and /), got {unfit}")

    @property
    def leading(self) -> str:
        """The camera whose path the map keeps; empty with one camera."""
        return self.names[0] if self.names else ""
