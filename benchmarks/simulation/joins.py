"""How drives beside a saved map ended: whether and when they joined it, how far off, and the table of them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

WRONG_M = 1.0  # error of a join that is a false one
HEADER = (
    "seed  drive  building   network   similar   joined   driven   waited   off    off   error    rms   most\n"
    "                                        s        s        m        s     m    deg       m      m      m"
)


@dataclass(frozen=True)
class Outcome:
    """Of one drive beside a saved map."""

    similar_s: float | None  # driven until a window from where the camera had been in the first drive; None: never
    joined_s: float | None  # until a window is published in the saved map; None: never
    joined_m: float | None
    errors_m: tuple[float, ...]  # of the frames that were published in the saved map
    off_m: float | None  # of the first of them, in the map as it is there
    off_deg: float | None
    refusal: str  # why the latest loop was refused

    @property
    def waited_s(self) -> float | None:
        """Since that window; less than zero where the robot knew its way sooner."""
        return None if self.similar_s is None or self.joined_s is None else self.joined_s - self.similar_s

    @property
    def rms_m(self) -> float:
        return math.sqrt(float(np.mean(np.square(self.errors_m)))) if self.errors_m else math.nan


@dataclass(frozen=True)
class Case:
    """Of a saved map."""

    number: int  # of the drive
    is_same: bool
    is_fooled: bool

    @classmethod
    def all(cls, num_drives: int) -> list[Case]:
        """So many in the saved building and one in another; the last of each once more with a fooled network."""
        sound = [cls(number, number < num_drives, False) for number in range(num_drives + 1)]
        return [*sound, *(replace(case, is_fooled=True) for case in sound[-2:])]

    def row(self, seed: int, outcome: Outcome) -> str:
        times = outcome.similar_s, outcome.joined_s, outcome.joined_m, outcome.waited_s
        errors: tuple[float | None, ...] = (None,) * 5
        if outcome.errors_m:
            errors = outcome.off_m, outcome.off_deg, outcome.errors_m[0], outcome.rms_m, max(outcome.errors_m)
        cells = [f"{'-' if value is None else format(value, '.1f'):>8s}" for value in times]
        cells += [
            f"{'-' if value is None else format(value, '.2f'):>{width}s}"
            for value, width in zip(errors, (5, 6, 7, 6, 6), strict=True)
        ]
        where, network = "the same" if self.is_same else "another", "fooled" if self.is_fooled else "sound"
        return f"{seed:4d} {self.number:6d}  {where:>8s}  {network:>8s}  {' '.join(cells)}  {outcome.refusal}"


def summary(found: Sequence[tuple[Case, Outcome]]) -> str:
    joined = [(case, outcome) for case, outcome in found if outcome.errors_m]
    false = sum(not case.is_same or outcome.errors_m[0] > WRONG_M for case, outcome in joined)
    sound = [outcome for case, outcome in found if case.is_same and not case.is_fooled]
    could = [outcome for outcome in sound if outcome.similar_s is not None]
    waited = [outcome.waited_s for outcome in could if outcome.waited_s is not None]
    lines = [f"{len(waited)} of {len(could)} drives joined that saw something from similar poses; {false} false joins"]
    if waited:
        good = [outcome for outcome in sound if outcome.errors_m]
        errors = np.array([(outcome.off_m, outcome.rms_m) for outcome in good])
        off, rms = zip(np.median(errors, axis=0), errors.max(axis=0), strict=True)
        lines += [
            f"waited: {np.median(waited):.1f} s (median), {max(waited):.1f} s at most",
            f"off at joining: {off[0]:.2f} m (median), {off[1]:.2f} m at most; "
            f"rms error from then on: {rms[0]:.2f} m (median), {rms[1]:.2f} m at most",
        ]
    return "\n".join(lines)
