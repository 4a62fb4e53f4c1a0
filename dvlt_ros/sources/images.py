"""What every source gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..errors import one_line
from ..imaging import View
from ..lens import Lens

MAX_KINDS = 20  # of reasons that are kept
MAX_LISTED = 1000  # refusals that are kept one by one


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One image of a recorded stream."""

    stamp_ns: int  # 0 or later; rises, unless the clock of a recording was set back
    frame_id: str
    image: np.ndarray  # (H, W, 3) uint8 RGB, as the camera gave it
    lens: Lens | None  # None: not known
    camera: str = ""  # name within a rig
    name: str = ""  # of its file, where it has one of its own
    inside: np.ndarray | None = None  # (H, W) bool: where the photo is, on a black border; None: everywhere
    masked: np.ndarray | None = None  # (H, W) bool: what is no part of the map; None: nothing

    @property
    def view(self) -> View:
        """Pixels and lens as one thing, for whoever turns, crops or scales them."""
        return View(self.image, self.lens)


@dataclass
class Refusals:
    """Images of the latest round that could not be used: how many, which was the first of each kind, and why."""

    count: int = 0
    first: str = field(default="", compare=False)
    kinds: dict[str, tuple[int, str]] = field(default_factory=dict, compare=False)  # by reason: how many, the first
    listed: list[str] = field(default_factory=list, compare=False)  # each with its name, the first ones

    def add(self, reason: object, count: int = 1, name: str = "") -> None:
        """``count`` images for one reason, the first of which is ``name``."""
        full = one_line(f"{name}: {reason}" if name else str(reason))
        self.count += count
        self.first = self.first or full
        if len(self.listed) < MAX_LISTED:
            self.listed.append(full)
        kind = str(reason)
        if kind in self.kinds or len(self.kinds) < MAX_KINDS:
            seen, example = self.kinds.get(kind, (0, full))
            self.kinds[kind] = seen + count, example

    def clear(self) -> None:
        self.count, self.first, self.kinds, self.listed = 0, "", {}, []

    def __str__(self) -> str:
        """``2 refused, e.g. 2.jpg: only a part of an image (2)``; the first of each kind."""
        if not self.count:
            return "0 refused"
        examples = "; ".join(
            f"{example} ({count})" if count > 1 else example for count, example in list(self.kinds.values())[:3]
        )
        more = f"; {len(self.kinds) - 3} more reasons" if len(self.kinds) > 3 else ""
        return f"{self.count} refused, e.g. {examples}{more}"


class Source(Protocol):
    """Images in order, as often as asked. Those that cannot be used are left out and counted in ``refusals``."""

    @property
    def refusals(self) -> Refusals: ...

    @property
    def camera_problem(self) -> str:
        """Why images come without the camera that is recorded with them; empty: they do not."""
        ...

    has_times: bool  # False: photos of one scene rather than a stream; their stamps only count them
    remarks: list[str]  # what else should be said: files of other kinds, a recording that was cut, the unit of times

    def __len__(self) -> int:
        """How many images there are, readable or not."""
        ...

    def __iter__(self) -> Iterator[SourceImage]: ...
