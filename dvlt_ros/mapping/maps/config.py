"""Parameters of the growing map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...parameters import check_parameters, parameter

MapMode = Literal["mapping", "localization"]


@dataclass(frozen=True)
class MapConfig:
    """What becomes of the map, and resolution and size of its cloud."""

    GROUP: ClassVar[str] = "map"
    mode: MapMode = parameter(
        "mapping", "mapping: the map grows; localization: a saved map stays as it is, and the camera is found in it",
    )  # fmt: skip
    voxel_size: float = parameter(
        0.0, "edge of the map's voxels in its unit; 0: 1 % of the first median depth", 0.0, 10.0
    )
    max_points: int = parameter(
        1_000_000, "the map keeps at most this many; the farthest are dropped first", 1000, 50_000_000, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
