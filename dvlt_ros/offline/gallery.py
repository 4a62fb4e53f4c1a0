"""Some frames of each map, small, for its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..export import Shown
from ..mapping.outputs.rendering import RenderedFrame
from .depth_files import seconds
from .frame_log import LoggedFrame

MOST = 12  # of a map that are kept in memory
WIDTH = 320  # pixels, about; a page shows no more


@dataclass
class _Row:
    """Every n-th frame of a map as it comes."""

    stride: int = 1
    count: int = 0
    kept: list[tuple[LoggedFrame, Shown]] = field(default_factory=list)


class Gallery:
    """Spread over each map; the first frame of all that wait for their place is always among them."""

    def __init__(self) -> None:
        self._rows: dict[tuple[bool, int], _Row] = {}  # as maps were when their frames came
        self._placed: list[_Row] = []  # of frames that have waited

    def place_waiting(self, visual_id: int) -> None:
        """Those of a visual map that wait now have found their place; others may come."""
        if (row := self._rows.pop((False, visual_id), None)) is not None:
            self._placed.append(row)

    def add(self, logged: LoggedFrame, frame: RenderedFrame) -> None:
        row = self._rows.setdefault((logged.is_placed, logged.map_id), _Row())
        if row.count % row.stride == 0:
            step = math.ceil(frame.size[1] / WIDTH)
            thin = np.s_[::step, ::step]
            arrays = (array[thin].copy() for array in (frame.rgb, frame.depth, frame.confidence))
            row.kept.append((logged, Shown(logged.name or seconds(logged.stamp_ns), *arrays)))
        row.count += 1
        if len(row.kept) > MOST:
            row.kept, row.stride = row.kept[::2], 2 * row.stride

    def of(self, frames: Sequence[LoggedFrame]) -> list[Shown]:
        """Those among these frames, oldest first, with their lengths as they are now."""
        wanted = set(map(id, frames))
        kept = [pair for row in (*self._placed, *self._rows.values()) for pair in row.kept if id(pair[0]) in wanted]
        kept.sort(key=lambda pair: pair[0].stamp_ns)
        return [replace(shown, depth=np.float32(logged.scale) * shown.depth) for logged, shown in kept]
