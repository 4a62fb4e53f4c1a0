"""What the engine says of a window that it has run."""

from __future__ import annotations

from dataclasses import dataclass

from .budget import Plan
from .frames import Reconstruction, SeamReport
from .scale_sources import NoObservation, ScaleObservation
from .stations import Station

NO_STATION = -1


@dataclass(frozen=True, eq=False)
class RigReport:
    """What the cameras of a rig say of each other."""

    baseline: ScaleObservation | NoObservation  # metres per unit of the map, by the distance of their mounts
    residual_deg: float | None  # how far the mounts are from what was seen of late; None: not known yet


@dataclass(frozen=True, eq=False)
class WindowResult:
    """What came of one window."""

    reconstructions: tuple[Reconstruction, ...]  # of the new frames, oldest first
    seam: SeamReport
    map_id: int
    plan: Plan
    num_views: int
    image_size: int
    waited_ms: float  # of the oldest new frame, before the window began
    window_ms: float  # network and joining, copies included
    rig: RigReport | None = None  # None with one camera
    station: Station | None = None  # if it is one
    segment: int = NO_STATION  # number of the latest station: what a loop moves together

    @property
    def leading_camera(self) -> str:
        """The first of a rig that has something new."""
        return self.reconstructions[0].camera if self.reconstructions else ""
