"""What a robot knows beside the images of one camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .gravity import Gravity
from .odometry import CameraInOdom
from .rig import Rig
from .sparse_depth import SparseDepth


@dataclass(frozen=True, eq=False)
class Sensors:
    """None where the robot has no such thing: one camera alone is ``Sensors()``."""

    rig: Rig | None = None  # several cameras, their mounts known
    odometry: Callable[[int, str], CameraInOdom] | None = None  # a camera (frame_id) at a stamp in ns, or OdometryError
    depth: SparseDepth | None = None  # measured depth
    gravity: Gravity | None = None  # an IMU or a mount that levels new maps

    @property
    def tell_metres(self) -> bool:
        """Whether lengths can become metres."""
        return self.odometry is not None or self.rig is not None or self.depth is not None

    def why_not_level(self) -> str:
        """Why z of the current map is not known to point up; empty: it does, by odometry, gravity or mounts."""
        if self.gravity is not None:
            return "" if self.gravity.state else self.gravity.problem or "the map is not level by gravity yet"
        if self.odometry is not None or self.rig is not None:
            return ""
        return "the map is not level: neither odometry nor gravity.source tells where up is"

    @property
    def first_camera(self) -> str | None:
        """Of a rig: its path is the map's. None: there is one camera."""
        return None if self.rig is None else self.rig.cameras[0]
