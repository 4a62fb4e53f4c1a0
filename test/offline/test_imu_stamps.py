"""One odd stamp of an IMU does not end the reading of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dvlt_ros.offline.sensors.gravity import without_odd_stamps

S = 10**9


def message(stamp_ns):
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=stamp_ns // S, nanosec=stamp_ns % S)))


def stamps(stamps_ns):
    kept = without_odd_stamps(map(message, stamps_ns))
    return [found.header.stamp.sec * S + found.header.stamp.nanosec for found in kept]


REGULAR = [S + i * S // 100 for i in range(50)]


@pytest.mark.parametrize("ahead_s", [2, 3600, 10**8])
@pytest.mark.parametrize("place", [1, 20, 48])
def test_one_far_ahead_is_left_out(ahead_s, place):
    spoilt = [*REGULAR[:place], REGULAR[place] + ahead_s * S, *REGULAR[place + 1 :]]
    assert stamps(spoilt) == [*REGULAR[:place], *REGULAR[place + 1 :]]


@pytest.mark.parametrize(
    "whole",
    [
        [], [S], REGULAR, [*REGULAR, *(s + 60 * S for s in REGULAR)], [*REGULAR, *REGULAR],
        [*(s + 60 * S for s in REGULAR), *REGULAR], [S, 90 * S],
    ],
    ids=["none", "one", "regular", "a pause", "played again", "set back", "two far apart"],
)  # fmt: skip
def test_everything_else_stays(whole):
    assert stamps(whole) == whole
