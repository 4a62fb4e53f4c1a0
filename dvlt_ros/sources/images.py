"""What every source gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..lens import Lens


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One image of a recorded stream."""

    stamp_ns: int  # above 0, rising
    frame_id: str
    image: np.ndarray  # (H, W, 3) uint8 RGB, as the camera gave it
    lens: Lens | None  # None: not known


@dataclass
class Refusals:
    """Images that could not be read, and why the first of them could not."""

    count: int = 0
    first: str = field(default="", compare=False)

    def add(self, reason: object) -> None:
        self.count += 1
        self.first = self.first or str(reason)


class Source(Protocol):
    """Images in order. Those that cannot be read are left out and counted in ``refusals``."""

    refusals: Refusals

    def __len__(self) -> int:
        """How many images there are, readable or not."""
        ...

    def __iter__(self) -> Iterator[SourceImage]: ...
