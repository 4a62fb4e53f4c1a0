"""What the engine says of a window that it has run."""

from __future__ import annotations

from dataclasses import dataclass

from ..budget.controller import Plan
from ..data.frames import Reconstruction, RegistrationReport
from ..sensors.rig import RigReport
from ..submaps.submap import Submap

NO_SUBMAP = -1


@dataclass(frozen=True, eq=False)
class WindowResult:
    """What came of one window."""

    reconstructions: tuple[Reconstruction, ...]  # of the new frames, oldest first
    registration: RegistrationReport
    map_id: int
    plan: Plan
    num_views: int
    image_size: int
    waited_ms: float  # of the oldest new frame, before the window began
    window_ms: float  # network and joining, copies included
    finished_ns: int = 0  # when it was computed, by the front end's clock
    rig: RigReport | None = None  # None with one camera
    submap: Submap | None = None  # if it is one
    submap_id: int = NO_SUBMAP  # number of the latest submap: what a loop moves together

    @property
    def leading_camera(self) -> str:
        """The first of a rig that has something new."""
        return self.reconstructions[0].camera if self.reconstructions else ""
