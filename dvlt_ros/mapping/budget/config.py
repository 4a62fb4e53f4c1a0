"""Parameters of windows and of the time that they may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigError
from ...parameters import check_parameters, parameter


@dataclass(frozen=True)
class BudgetConfig:
    """How long a frame may take, and how many steps K of the loop that buys."""

    GROUP: ClassVar[str] = "budget"
    latency_ms: float = parameter(
        0.0, "from a frame's arrival to its publication; K is chosen to keep it; 0: always k_max", 0, 60_000, live=True
    )
    k_min: int = parameter(0, "fewest steps of the network's loop; 0: the checkpoint's own", 0, 64, live=True)
    k_max: int = parameter(
        0, "most steps of the network's loop, for the best quality; 0: the checkpoint's own", 0, 64, live=True
    )

    references: int = parameter(
        1,
        "views of a window that are the reference in turn; their answers are merged, at as many times the network's "
        "time; under a latency budget fewer where k_max leaves no time",
        1, 16, live=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.k_min and self.k_max and self.k_min > self.k_max:
            raise ConfigError(f"budget.k_min must be at most budget.k_max {self.k_max}, got {self.k_min}")


@dataclass(frozen=True)
class WindowConfig:
    """How frames become windows."""

    GROUP: ClassVar[str] = "window"
    size: int = parameter(8, "frames that the network sees together", 2, 256)
    overlap: int = parameter(3, "frames of a window that the window before had too", 1, 255)
    max_wait_s: float = parameter(
        0.5, "a lonely first frame waits this long for a second one", 0.0, 60.0, live=True, expert=True
    )
    max_gap_s: float = parameter(
        5.0, "after a longer pause between frames a new map begins", 0.0, 3600.0, live=True, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.overlap >= self.size:
            raise ConfigError(f"window.overlap must be below window.size {self.size}, got {self.overlap}")
