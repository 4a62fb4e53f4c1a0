"""Parameters of loop closure: one group, a dataclass for each part that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...parameters import check_parameters, group, parameter

LoopMode = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class LoopDetectorConfig:
    """Whether loops are closed, and how much work they may be."""

    GROUP: ClassVar[str] = "loops"
    mode: LoopMode = parameter(
        "auto", "whether loops are closed; auto: where GTSAM is installed (pip install 'gtsam>=4.3,<5'); "
        "always: do not start without it",
    )  # fmt: skip
    check_every: int = parameter(
        5, "windows from one check of a place to the next, at least; those that may join two maps come after each",
        1, 10_000, live=True, expert=True,
    )  # fmt: skip
    rest: int = parameter(
        5, "remembered places from one closed loop to the next, at least", 0, 10_000, live=True, expert=True
    )
    place_distance: float = parameter(
        0.3, "a window is remembered as a place after this way, relative to the median depth", 0.01, 10.0,
        live=True, expert=True,
    )  # fmt: skip
    place_turn_deg: float = parameter(
        20.0, "a window is also remembered as a place after this turn", 1.0, 180.0, live=True, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class PlaceIndexConfig:
    """What counts as a place that looks like an earlier one."""

    GROUP: ClassVar[str] = "loops"
    max_places: int = parameter(
        500, "places remembered, about 0.3 MB each; of those that look alike the older one leaves", 20, 100_000,
        expert=True,
    )  # fmt: skip
    min_age_s: float = parameter(20.0, "places younger than this are not a return", 0.0, 3600.0, live=True, expert=True)
    min_apart: int = parameter(
        10, "places in between, at least, before it is a return", 1, 10_000, live=True, expert=True
    )
    strictness: float = parameter(
        3.0, "spreads of the similarity of far places above its median, at least, to be worth a window", 0.0, 20.0,
        live=True, expert=True,
    )  # fmt: skip
    max_candidates: int = parameter(2, "places looked up for a new one", 1, 20, live=True, expert=True)

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class LoopVerificationConfig:
    """What a loop must show."""

    GROUP: ClassVar[str] = "loops"
    max_residual: float = parameter(
        0.05, "median relative distance of each submap's points in the joint window", 0.0, 1.0, live=True, expert=True
    )
    min_overlap: float = parameter(
        0.25, "share of each submap's pixels that the other one sees too", 0.0, 1.0, live=True, expert=True
    )
    max_seen_through: float = parameter(
        0.08, "share of what both should see where one sees something farther away instead", 0.0, 1.0,
        live=True, expert=True,
    )  # fmt: skip
    depth_tolerance: float = parameter(
        0.1, "relative difference of depths that are the same", 1e-3, 1.0, live=True, expert=True
    )
    max_scale_error: float = parameter(
        1.5, "factor by which the submaps' units may differ from expectation", 1.0, 100.0, live=True, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class LoopsConfig:
    """Loop closure as a whole."""

    detector: LoopDetectorConfig = group(LoopDetectorConfig)
    places: PlaceIndexConfig = group(PlaceIndexConfig)
    verification: LoopVerificationConfig = group(LoopVerificationConfig)
