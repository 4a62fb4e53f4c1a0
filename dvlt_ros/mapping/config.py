"""The engine's parameters, each with its default, description and range; ROS declares its own from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..model.config import PATCH_SIZE
from ..parameters import check_parameters, parameter

ImageRotation = Literal[0, 90, 180, 270]


@dataclass(frozen=True)
class MappingConfig:
    """How frames become windows and windows become a map."""

    latency_budget_ms: float = parameter(
        0.0, "from a frame's arrival to its publication; K is chosen to keep it; 0: always k_max", 0, 60_000, live=True
    )
    k_min: int = parameter(0, "fewest steps of the loop; 0: the checkpoint's own", 0, 64, live=True)
    k_max: int = parameter(0, "most steps of the loop; 0: the checkpoint's own", 0, 64, live=True)
    window_size: int = parameter(8, "frames that the network sees together", 2, 64)
    window_overlap: int = parameter(3, "frames of a window that the window before had too", 1, 63)
    image_size: int = parameter(
        0, "network's longest edge in pixels, a multiple of 14; 0: the checkpoint's own", 0, 2044
    )
    image_rotation: ImageRotation = parameter(0, "clockwise degrees that turn the image upright for the network")
    max_wait_s: float = parameter(0.5, "a lonely first frame waits this long for a second one", 0.0, 60.0, live=True)
    max_gap_s: float = parameter(5.0, "after a longer pause between frames a new map begins", 0.0, 3600.0, live=True)
    keyframe_min_interval_s: float = parameter(
        0.0, "frames closer to the last one are passed over", 0.0, 60.0, live=True
    )
    keyframe_min_change: float = parameter(
        0.004, "mean change of grey value (0 to 1) that makes a frame worth a look; 0: all are", 0.0, 1.0, live=True
    )
    keyframe_heartbeat_s: float = parameter(
        1.0, "a frame is taken at least this often, moved or not", 0.0, 60.0, live=True
    )
    min_confidence: float = parameter(
        1.0, "depth of lower confidence is NaN; confidence starts at 1", 1.0, 1e6, live=True
    )
    distrusted_share: float = parameter(
        0.1, "share of a frame's pixels, the least confident, whose depth is NaN", 0.0, 1.0, live=True
    )
    min_trusted_share: float = parameter(
        0.05, "a frame with a smaller share of pixels of min_confidence sees nothing: dropped", 0.0, 1.0, live=True
    )
    max_registration_residual: float = parameter(
        0.1, "median relative distance of shared points above which a window does not join the map", 0.0, 1.0, live=True
    )
    voxel_size: float = parameter(
        0.0, "edge of the map's voxels in its unit; 0: 1 % of the first median depth", 0.0, 10.0
    )
    max_map_points: int = parameter(
        1_000_000, "the map keeps at most this many; far ones leave first", 1000, 50_000_000
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.window_overlap >= self.window_size:
            raise ConfigError(f"window_overlap must be below window_size {self.window_size}, got {self.window_overlap}")
        if self.image_size % PATCH_SIZE:
            raise ConfigError(f"image_size must be a multiple of {PATCH_SIZE}, got {self.image_size}")
        if self.k_min and self.k_max and self.k_min > self.k_max:
            raise ConfigError(f"k_min must be at most k_max {self.k_max}, got {self.k_min}")
