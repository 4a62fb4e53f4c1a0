"""Parameters of what is trusted, and of how windows join the map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ...parameters import check_parameters, parameter

Detected = Literal["none", "moving", "sky", "both"]


@dataclass(frozen=True)
class ConfidenceConfig:
    """Which pixels of the network's depth are trusted."""

    GROUP: ClassVar[str] = "confidence"
    min: float = parameter(1.0, "depth of lower confidence is NaN; confidence starts at 1", 1.0, 1e6, live=True)
    cut_share: float = parameter(
        -1.0, "share of a frame's pixels, the least confident, whose depth is NaN; -1: as the checkpoint's config says",
        -1.0, 1.0, live=True,
    )  # fmt: skip
    min_share: float = parameter(
        0.05, "a frame with a smaller share of pixels that reach confidence.min sees nothing: dropped", 0.0, 1.0,
        live=True, expert=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)

    def for_checkpoint(self, cut_share: float) -> ConfidenceConfig:
        """With the checkpoint's own share where none is set."""
        return self if self.cut_share >= 0 else replace(self, cut_share=cut_share)


@dataclass(frozen=True)
class MasksConfig:
    """What is left out of the map without a mask that says so."""

    GROUP: ClassVar[str] = "masks"
    detect: Detected = parameter(
        "none", "moving: what views of a window look through, and no more see; sky: what reaches down from the image's "
        "upper edge, four times as far and half as confident as the ground", live=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def moving(self) -> bool:
        """Whether what moves is left out."""
        return self.detect in ("moving", "both")

    @property
    def sky(self) -> bool:
        """Whether sky is left out."""
        return self.detect in ("sky", "both")


@dataclass(frozen=True)
class RegistrationConfig:
    """When a window joins the map."""

    GROUP: ClassVar[str] = "registration"
    max_residual: float = parameter(
        0.1, "median relative distance of shared points above which a window does not join the map", 0.0, 1.0,
        live=True, expert=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)
