"""Parameters of several cameras on one body."""

from __future__ import annotations

from dataclasses import dataclass

from ...parameters import check_parameters, parameter


@dataclass(frozen=True)
class RigConfig:
    """Synchronization of a rig's cameras, and limits for their mounts."""

    rig_tolerance_s: float = parameter(
        0.01, "cameras: stamps this close are one frame set; below half the time between two frames", 0.0, 1.0
    )
    rig_patience_s: float = parameter(
        1.0, "cameras: one that is silent for longer is not waited for until it comes back", 0.05, 60.0
    )
    rig_max_residual_deg: float = parameter(
        5.0, "cameras: seen this far from their mounts, these are not believed", 0.1, 180.0
    )

    def __post_init__(self) -> None:
        check_parameters(self)
