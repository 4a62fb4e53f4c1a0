"""Times of text files as nanoseconds: seconds, milli-, micro- or nanoseconds, told apart by their magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

from ..errors import DataError

UNITS = {"s": 10**9, "ms": 10**6, "µs": 10**3, "ns": 1}  # ns of one
# Of clocks that count from 1970: 10^11 s are the year 5138, and 10^11 ms are 1973.
FIRST_OF = {"s": Decimal(0), "ms": Decimal(10) ** 11, "µs": Decimal(10) ** 14, "ns": Decimal(10) ** 17}
MAX_NS = 2**31 * 10**9  # what a stamp of ROS can hold
DEFAULT_RATE_HZ = 10.0  # of images that do not tell their times
MAX_STEP_S = 10**5  # between two images or poses; more is another unit of a clock that begins at 0
FROM_1970_S = 10**8  # clocks that count from 1970 are beyond


@dataclass(frozen=True, eq=False)
class Times:
    """All times of one file, in one unit."""

    stamps_ns: np.ndarray  # (N,) int64, in the order of the file
    unit: str  # of UNITS: that of the file


def read_times(texts: Sequence[str], source: str) -> Times:
    """Times as a file writes them.

    Raises:
        DataError: something that is no time, several units, or times that no stamp of ROS can hold; it names the
            first such one.
    """
    values = [_number(text, source) for text in texts]
    units = [_unit(abs(value)) for value in values]
    if (largest := max(values, key=abs, default=None)) is None:
        return Times(np.zeros(0, np.int64), "s")
    unit = _unit(abs(largest))
    odd = next((index for index, found in enumerate(units) if found != unit and values[index] != 0), None)
    if odd is not None:
        raise DataError(f"{source}: {texts[odd]!r} is in {units[odd]}, other times are in {unit}")
    stamps = [int(value * UNITS[unit]) for value in values]
    for text, stamp in zip(texts, stamps, strict=True):
        if abs(stamp) >= MAX_NS:
            raise DataError(f"{source}: {text!r} is not a time: read in {unit}, it is beyond the year 2038")
    _check_steps(stamps, texts, unit, source)
    return Times(np.array(stamps, dtype=np.int64), unit)


def unit_remark(times: Times, source: str) -> str:
    """What to say of times that are not in seconds, which is what such files usually have; else empty."""
    return "" if times.unit == "s" else f"{source}: times are read in {times.unit}"


def _number(text: str, source: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise DataError(f"{source}: {text[:40]!r} is not a time") from error
    if not value.is_finite() or (value and value.adjusted() > 18):
        raise DataError(f"{source}: {text[:40]!r} is not a time")
    return value


def _unit(value: Decimal) -> str:
    return next(unit for unit in ("ns", "µs", "ms", "s") if value >= FIRST_OF[unit])


def _check_steps(stamps: Sequence[int], texts: Sequence[str], unit: str, source: str) -> None:
    """Clocks that begin at 0 do not tell their unit by magnitude; days between all images do."""
    if unit != "s" or len(stamps) < 3 or min(map(abs, stamps)) > FROM_1970_S * 10**9:
        return
    steps = np.abs(np.diff(np.array(stamps, dtype=np.float64))) * 1e-9
    if float(np.median(steps)) > MAX_STEP_S:
        raise DataError(
            f"{source}: {texts[0]!r}, {texts[1]!r}: times in seconds cannot be {np.median(steps):.0f} s apart; "
            "are they in another unit? Write them in seconds"
        )
