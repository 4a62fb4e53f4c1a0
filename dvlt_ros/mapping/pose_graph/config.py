"""Configuration of the pose graph, loop closures, and the decisions about them."""

from __future__ import annotations

from dataclasses import dataclass

from ...alignment import Sim3
from ...errors import ConfigError
from ...parameters import check_parameters, parameter
from ...refinement import MotionDeviation


@dataclass(frozen=True)
class PoseGraphConfig:
    """Standard deviations of all measurements, and the graph's limits."""

    registration_rotation_deg: float = parameter(
        0.4, "of one registration; above its noise, because a network's bending errors repeat", 1e-3, 30.0
    )
    registration_translation: float = parameter(0.01, "of a registration, relative to the median depth", 1e-4, 1.0)
    registration_scale: float = parameter(0.01, "of the unit from window to window, relative", 1e-4, 1.0)
    odom_heading_per_turn: float = parameter(0.02, "rad after a turn of one radian", 1e-4, 1.0)
    odom_heading_per_metre: float = parameter(0.002, "rad after one metre driven", 1e-5, 1.0)
    odom_position_per_metre: float = parameter(0.02, "metres after one metre driven, any direction", 1e-4, 1.0)
    loop_rotation_deg: float = parameter(0.4, "of a loop: two registrations in one joint window", 1e-3, 30.0)
    loop_translation: float = parameter(0.02, "relative to the median depth; the loop's residual if it is larger", 1e-4)
    loop_scale: float = parameter(0.02, "of the unit between the submaps, relative", 1e-4, 1.0)
    max_contradiction: float = parameter(
        60.0, "largest rise of the squared error for a loop to be accepted; 99.9 % of true ones: 24", 1.0
    )
    max_submaps: int = parameter(
        500, "submaps in the graph; above it, those with the closest neighbours are merged", 10, 100_000
    )
    max_loops: int = parameter(
        100, "loops in the graph; above it, the older of the two most similar ones is removed", 1, 100_000
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        if (
            4 * self.max_loops > self.max_submaps
        ):  # at most half of the submaps are ends of loops, so some can be merged
            raise ConfigError(f"max_loops must be at most a quarter of max_submaps, got {self.max_loops}")


@dataclass(frozen=True, eq=False)
class LoopClosure:
    """Two submaps that see the same place, and ``first_from_second`` between their frames; the first one is older."""

    first: int
    second: int
    first_from_second: Sim3
    residual: float  # median distance of points that both see, relative to their depth
    is_expected: bool = False  # a pose hint agrees: it needs no second loop to join two maps
    motion: MotionDeviation | None = None  # through the joint window, where it was refined


@dataclass(frozen=True)
class RejectedLoop:
    """A loop that is not accepted, and why."""

    loop: LoopClosure
    reason: str


@dataclass(frozen=True, eq=False)
class Solution:
    """Decisions of `LoopHypotheses.optimize`."""

    accepted: tuple[LoopClosure, ...]  # new ones; the submaps have moved
    refused: tuple[RejectedLoop, ...]  # new ones, and older ones that new ones contradict
