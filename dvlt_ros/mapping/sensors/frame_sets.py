"""Which frames of a rig's cameras belong together: those of one frame set, within a tolerance."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ..data.frames import Frame
from .rig_config import RigConfig

QUEUED = 10  # frames of a camera that wait for those of the others
UNMATCHED = 10  # frames in a row that found no company, after which the cameras are said not to be synchronised


class Matched(NamedTuple):
    """What a frame has completed."""

    sets: list[tuple[Frame, ...]]  # of one frame set each, in the order of the cameras
    num_lost: int  # frames that found no company


class FrameSynchronizer:
    """Collects frames by their ``camera``. One that is silent for too long is not waited for until it comes back."""

    def __init__(self, cameras: Sequence[str], config: RigConfig) -> None:
        self.config = config
        self.silent: tuple[str, ...] = ()
        self._waiting: dict[str, deque[Frame]] = {camera: deque() for camera in cameras}
        self._awaited_ns: dict[str, int] = {}  # since when others have come, but not this camera
        self._found()

    def put(self, frame: Frame) -> Matched:
        """Frames of one camera come in the order of their stamps; a stamp that goes back starts its queue anew."""
        self._awaited_ns.pop(frame.camera, None)
        for camera in self._waiting.keys() - {frame.camera}:
            self._awaited_ns.setdefault(camera, frame.received_ns)
        latest_ns = frame.received_ns - self.config.patience_s * 1e9
        self.silent = tuple(c for c in self._waiting if self._awaited_ns.get(c, frame.received_ns) < latest_ns)
        sets: list[tuple[Frame, ...]] = []
        num_lost = self._queue(frame)
        while (heads := self._heads()) is not None:
            num_lost += self._match(heads, sets)
        return Matched(sets, num_lost)

    def clear(self) -> int:
        """Forgets the stream; returns how many frames waited."""
        count = sum(map(len, self._waiting.values()))
        for queue in self._waiting.values():
            queue.clear()
        self._awaited_ns, self.silent = {}, ()
        self._found()
        return count

    def _found(self) -> None:
        """Nothing is known against the cameras' clocks."""
        self.problem = ""  # why no sets come; empty: they do
        self._unmatched, self._closest_ns = 0, sys.maxsize

    def _queue(self, frame: Frame) -> int:
        queue, lost = self._waiting[frame.camera], 0
        if queue and frame.stamp_ns <= queue[-1].stamp_ns:
            lost = len(queue)
            queue.clear()
        queue.append(frame)
        if len(queue) > QUEUED:
            queue.popleft()
            lost += 1
        return lost

    def _heads(self) -> list[Frame] | None:
        """The oldest frame of every camera; None: one is still waited for, or there is none at all."""
        if any(not queue and camera not in self.silent for camera, queue in self._waiting.items()):
            return None
        return [queue[0] for queue in self._waiting.values() if queue] or None

    def _match(self, heads: Sequence[Frame], sets: list[tuple[Frame, ...]]) -> int:
        """Takes a set out of the queues, or those frames whose frame set has passed; returns how many of these."""
        latest = max(heads, key=lambda frame: frame.stamp_ns)
        late = [f for f in heads if latest.stamp_ns - f.stamp_ns > self.config.tolerance_s * 1e9]
        for frame in late or heads:
            self._waiting[frame.camera].popleft()
        if not late:
            sets.append(tuple(heads))
            self._found()
            return 0
        self._unmatched += len(late)
        self._closest_ns = min([self._closest_ns, *(latest.stamp_ns - frame.stamp_ns for frame in late)])
        if self._unmatched >= UNMATCHED:
            self.problem = (
                f"not synchronised: their frames are {self._closest_ns * 1e-9:.3f} s apart or more, "
                f"cameras.tolerance_s is {self.config.tolerance_s:g}"
            )
        return len(late)
