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

    stamp_ns: int  # above 0; rises, unless the clock of a recording was set back
    frame_id: str
    image: np.ndarray  # (H, W, 3) uint8 RGB, as the camera gave it
    lens: Lens | None  # None: not known


@dataclass
class Refusals:
    """Images of the latest round that could not be used, and why the first of them could not."""

    count: int = 0
    first: str = field(default="", compare=False)

    def add(self, reason: object) -> None:
        self.count += 1
        self.first = self.first or str(reason)

    def clear(self) -> None:
        self.count, self.first = 0, ""


class Source(Protocol):
    """Images in order, as often as asked. Those that cannot be used are left out and counted in ``refusals``."""

    refusals: Refusals
    camera_problem: str  # why images come without the camera that is recorded with them; empty: none

    def __len__(self) -> int:
        """How many images there are, readable or not."""
        ...

    def __iter__(self) -> Iterator[SourceImage]: ...
