"""Parameters of mesh and grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...parameters import check_parameters, parameter


@dataclass(frozen=True)
class SurfacesConfig:
    """Resolution and size of the volume that mesh and grid are read from."""

    GROUP: ClassVar[str] = "surfaces"
    voxel_size: float = parameter(
        0.0, "edge of the voxels of mesh and grid in the map's unit; 0: 0.05 m, or 2 % of the first median depth where "
        "metres are unknown", 0.0, 10.0,
    )  # fmt: skip
    max_blocks: int = parameter(
        40_000, "the volume keeps at most so many blocks of 8 x 8 x 8 voxels, 4.1 kB each; the farthest are dropped "
        "first", 100, 10_000_000, expert=True,
    )  # fmt: skip
    max_keyframes: int = parameter(
        1000, "depth of so many keyframes is kept, about 60 kB each, to fuse it again after a loop closure; the "
        "farthest are dropped first; 0: neither mesh nor grid", 0, 1_000_000, expert=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)
