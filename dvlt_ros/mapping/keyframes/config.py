"""Parameters of the choice of keyframes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...parameters import check_parameters, parameter


@dataclass(frozen=True)
class KeyframeConfig:
    """Which frames become keyframes."""

    GROUP: ClassVar[str] = "keyframes"
    min_interval_s: float = parameter(0.0, "frames closer to the last keyframe are passed over", 0.0, 60.0, live=True)
    min_change: float = parameter(
        0.004, "mean change of grey value (0 to 1) that makes a frame worth a look; 0: all are", 0.0, 1.0,
        live=True, expert=True,
    )  # fmt: skip
    heartbeat_s: float = parameter(
        1.0, "a frame is taken at least this often, moved or not", 0.0, 60.0, live=True, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
