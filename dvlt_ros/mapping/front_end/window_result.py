"""The result of one window of the front end."""

from __future__ import annotations

from dataclasses import dataclass

from ...refinement import MotionDeviation
from ..budget.plans import Plan
from ..data.frames import Reconstruction, RegistrationReport
from ..sensors.rig import RigReport
from ..submaps.submap import Submap

NO_SUBMAP = -1


@dataclass(frozen=True, eq=False)
class WindowResult:
    """Frames, registration, plan and times of one window."""

    reconstructions: tuple[Reconstruction, ...]  # of the new frames, oldest first
    registration: RegistrationReport
    map_id: int
    plan: Plan
    num_views: int
    image_size: int
    waited_ms: float  # of the oldest new frame, before the window began
    window_ms: float  # network and registration, copies included
    finished_ns: int = 0  # when it was computed, by the front end's clock
    rig: RigReport | None = None  # None with one camera
    submap: Submap | None = None  # if the window became one
    submap_id: int = NO_SUBMAP  # number of the latest submap; a loop closure moves all of its frames together
    motion: MotionDeviation | None = None  # of the newest frame, since the window before; None: it is not refined

    @property
    def leading_camera(self) -> str:
        """The first camera of a rig that has a new frame."""
        return self.reconstructions[0].camera if self.reconstructions else ""
