"""Stamps that jump: a clock that was restarted, or one odd stamp between good ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ..data.frames import OUT_OF_ORDER_S, Frame


class Checked(NamedTuple):
    """What is known after another frame set."""

    believed: list[tuple[Frame, ...]]  # oldest first
    odd: tuple[Frame, ...] = ()  # a frame set whose stamp neither the one before nor the one after agrees with
    reason: str = ""  # what is odd about it


class StampOrder:
    """Holds a frame set whose stamp jumps until the next one shows whether the clock has jumped or this stamp is odd.

    So that one odd stamp costs one frame set, and not the map.
    """

    def __init__(self) -> None:
        self._held: tuple[Frame, ...] = ()
        self._believed_ns: deque[int] = deque(maxlen=2)  # stamps

    def put(self, frames: tuple[Frame, ...], max_gap_s: float) -> Checked:
        """Takes the next frame set; ``max_gap_s`` is the longest pause that is no jump."""
        stamp_ns, odd, reason = frames[0].stamp_ns, self._held, ""
        believed: list[tuple[Frame, ...]] = []
        if odd and stamp_ns > odd[0].stamp_ns and not 0 < self._ahead_s(stamp_ns) <= max_gap_s:
            believed, odd = [self.release()], ()
        if odd:
            reason = self._oddness(odd[0].stamp_ns)
        self._held = frames
        if not self._jumps(stamp_ns, max_gap_s):
            believed.append(self.release())
        return Checked(believed, odd, reason)

    def release(self) -> tuple[Frame, ...]:
        """The frame set that is held, which is believed from now on; empty: none is."""
        held, self._held = self._held, ()
        self._believed_ns += [frame.stamp_ns for frame in held[:1]]
        return held

    def _ahead_s(self, stamp_ns: int) -> float:
        """Of what was believed last; 0 at the start."""
        return (stamp_ns - self._believed_ns[-1]) * 1e-9 if self._believed_ns else 0.0

    def _jumps(self, stamp_ns: int, max_gap_s: float) -> bool:
        return self._ahead_s(stamp_ns) > max_gap_s or step_back_s(stamp_ns, self._believed_ns) >= OUT_OF_ORDER_S

    def _oddness(self, stamp_ns: int) -> str:
        ahead_s = self._ahead_s(stamp_ns)
        where = "ahead of" if ahead_s > 0 else "behind"
        return f"its stamp is {abs(ahead_s):.1f} s {where} the frame before it, and the next frame does not follow it"


def step_back_s(stamp_ns: int, before_ns: Sequence[int]) -> float:
    """How far a stamp goes back from the latest of ``before_ns`` (oldest first); 0: it does not.

    A stamp that still follows the last but one does not go back: the latest was odd, too far ahead.
    """
    if not before_ns or any(stamp_ns > before for before in [*before_ns][-2:]):
        return 0.0
    return (before_ns[-1] - stamp_ns) * 1e-9
