"""What the pose graph is told, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from ...alignment import Sim3
from ...errors import ConfigError
from ...parameters import check_parameters, parameter


@dataclass(frozen=True)
class PoseGraphConfig:
    """How far each source is trusted: standard deviations."""

    registration_rotation_deg: float = parameter(
        0.4, "of a window's bend; more than noise alone makes, because bends of a network repeat", 1e-3, 30.0
    )
    registration_translation: float = parameter(0.01, "of a registration, relative to the median depth", 1e-4, 1.0)
    registration_scale: float = parameter(0.01, "of the unit from window to window, relative", 1e-4, 1.0)
    odom_heading_per_turn: float = parameter(0.02, "rad after one radian turned; a turn slips", 1e-4, 1.0)
    odom_heading_per_metre: float = parameter(0.002, "rad after one metre driven", 1e-5, 1.0)
    odom_position_per_metre: float = parameter(0.02, "metres after one metre driven, any direction", 1e-4, 1.0)
    loop_rotation_deg: float = parameter(0.4, "two registrations, and a bend between the submaps", 1e-3, 30.0)
    loop_translation: float = parameter(0.02, "relative to the median depth; the loop's residual if it is larger", 1e-4)
    loop_scale: float = parameter(0.02, "of the unit between the submaps, relative", 1e-4, 1.0)
    max_contradiction: float = parameter(
        60.0, "rise of the graph's squared error with a loop that is still believed; 99.9 % of true ones: 24", 1.0
    )
    max_submaps: int = parameter(500, "submaps in the graph; what lies closest together is merged", 10, 100_000)
    max_loops: int = parameter(100, "loops in the graph; of the two most alike the older one leaves", 1, 100_000)

    def __post_init__(self) -> None:
        check_parameters(self)
        if 4 * self.max_loops > self.max_submaps:  # half of the submaps may have loops, some are always left to merge
            raise ConfigError(f"max_loops must be at most a quarter of max_submaps, got {self.max_loops}")


@dataclass(frozen=True, eq=False)
class LoopClosure:
    """Two submaps that see the same place: ``first_from_second`` between their frames, first is the older one."""

    first: int
    second: int
    first_from_second: Sim3
    residual: float  # median distance of points that both see, relative to their depth


@dataclass(frozen=True)
class RejectedLoop:
    """A loop that the graph does not believe."""

    loop: LoopClosure
    reason: str


@dataclass(frozen=True, eq=False)
class Solution:
    """What `PoseGraph.optimize` found."""

    accepted: tuple[LoopClosure, ...]  # new ones: the map has moved at once
    refused: tuple[RejectedLoop, ...]  # new ones, and older ones that later loops contradict
