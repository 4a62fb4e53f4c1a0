"""What the budget decides about a window, and the frames it decides for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .limits import Effort


@dataclass(frozen=True)
class Plan:
    """K of a window, and the predicted latency of its oldest new frame from arrival to publication."""

    num_steps: int
    predicted_ms: float | None  # median; None before the first measurement
    percentile_ms: float | None  # 99.5th
    fits: bool  # whether the percentile is within the budget; True before the first measurement
    references: int = 1  # views that are the reference in turn

    @property
    def work(self) -> int:
        """Steps of one path that take as long."""
        return Effort(self.num_steps, self.references).work

    def taking(self, num_steps: int | None) -> Plan:
        """The same, where the loop took fewer steps than planned; None: it took them all."""
        return self if num_steps is None else replace(self, num_steps=num_steps)


@dataclass(frozen=True)
class Queue:
    """The frames with which a window starts."""

    num_views: int
    num_new: int
    waited_ms: float  # of the oldest new frame


@dataclass(frozen=True)
class ApartPlan:
    """Of a window beside the stream."""

    num_steps: int
    limit_ms: float  # of all of it; inf without a budget
