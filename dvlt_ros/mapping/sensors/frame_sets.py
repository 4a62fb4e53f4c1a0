"""Synchronizes the cameras of a rig: groups frames whose stamps agree within a tolerance into frame sets."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ..data.frames import Frame
from .rig_config import RigConfig

QUEUED = 10  # frames of a camera that wait for those of the others
UNMATCHED = 10  # unmatched frames in a row after which the cameras are reported as not synchronized


class Matched(NamedTuple):
    """The result of adding a frame."""

    sets: list[tuple[Frame, ...]]  # completed frame sets, each in the order of the cameras
    num_lost: int  # frames that matched no others


class FrameSynchronizer:
    """Collects frames by ``camera``; does not wait for a camera that is silent for longer than ``rig_patience_s``."""

    def __init__(self, cameras: Sequence[str], config: RigConfig) -> None:
        self.config = config
        self.silent: tuple[str, ...] = ()
        self._waiting: dict[str, deque[Frame]] = {camera: deque() for camera in cameras}
        self._awaited_ns: dict[str, int] = {}  # first arrival of another camera's frame since this camera's last one
        self._found()

    def put(self, frame: Frame) -> Matched:
        """Adds a frame; a stamp that is not newer than the camera's last one empties this camera's queue first."""
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
        """Forgets the stream; returns how many frames were waiting."""
        count = sum(map(len, self._waiting.values()))
        for queue in self._waiting.values():
            queue.clear()
        self._awaited_ns = {}
        self.silent = ()
        self._found()
        return count

    def _found(self) -> None:
        """Resets the statistics about unmatched frames."""
        self.problem = ""  # why there are no frame sets; empty: there are
        self._unmatched = 0
        self._closest_ns = sys.maxsize

    def _queue(self, frame: Frame) -> int:
        queue = self._waiting[frame.camera]
        lost = 0
        if queue and frame.stamp_ns <= queue[-1].stamp_ns:
            lost = len(queue)
            queue.clear()
        queue.append(frame)
        if len(queue) > QUEUED:
            queue.popleft()
            lost += 1
        return lost

    def _heads(self) -> list[Frame] | None:
        """The oldest frame of every camera that is not silent; None: a frame is missing."""
        if any(not queue and camera not in self.silent for camera, queue in self._waiting.items()):
            return None
        return [queue[0] for queue in self._waiting.values() if queue] or None

    def _match(self, heads: Sequence[Frame], sets: list[tuple[Frame, ...]]) -> int:
        """Takes a set out of the queues, or the frames that are too old for one; returns the number of the latter."""
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
                f"not synchronized: their frames are {self._closest_ns * 1e-9:.3f} s apart or more, "
                f"cameras.tolerance_s is {self.config.tolerance_s:g}"
            )
        return len(late)
