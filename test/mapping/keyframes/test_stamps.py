"""Stamps that jump: one odd stamp costs one frame, a clock that was restarted a map, and nothing stays shut."""

from __future__ import annotations

from collections import defaultdict

import pytest
from configs import mapper_config
from hypothesis import given, settings
from hypothesis import strategies as st
from room import FRAME_NS, FakePredictor, picture, walk

from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.keyframes.stamps import StampOrder
from dvlt_ros.mapping.mapper import Mapper

START_NS = 1_700_000_000 * 10**9
GAP_S = 5.0
PLAIN = {"keyframes_min_change": 0.0, "confidence_cut_share": 0.0, "loops_mode": "never", "window_max_gap_s": GAP_S}
S = 10**9
ODD = {
    "years ahead": 10**9 * S, "a minute ahead": 60 * S, "seconds ahead": 2 * S, "a bit ahead": 250_000_000,
    "a second behind": -S, "a minute behind": -60 * S, "years behind": -START_NS + S, "zero": None, "below zero": -5,
}  # fmt: skip


def through(stamps_ns, make=FakePredictor, **changes):
    """Frames of these stamps through a mapper: stamps that came out by map, counters, and what was said."""
    poses = defaultdict(lambda: walk(1)[0])
    poses |= dict(zip(stamps_ns, walk(len(stamps_ns)), strict=True))
    said = []
    mapper = Mapper(mapper_config(**PLAIN | changes), make(poses), notify=said.append)
    shown = [Frame(stamp, "cam", i * FRAME_NS, lambda i=i: picture(i)) for i, stamp in enumerate(stamps_ns)]
    updates = [update for frame in shown if (update := mapper.add(frame)) is not None] + [*mapper.finish()]
    by_map = {}
    for update in updates:
        by_map.setdefault(update.map_id, []).extend(found.stamp_ns for found in update.frames)
    counts = mapper.counters.read()
    assert counts.accepted == counts.published + counts.dropped
    assert counts.accepted + counts.refused + counts.passed_over == len(stamps_ns)
    return [*by_map.values()], counts, said


def regular(count, start_ns=START_NS):
    return [start_ns + i * FRAME_NS for i in range(count)]


@pytest.mark.parametrize("place", [1, 5, 8, 19])
@pytest.mark.parametrize("odd", ODD)
def test_one_odd_stamp_costs_one_frame_and_never_the_map(place, odd):
    stamps = regular(20)
    good = [stamp for i, stamp in enumerate(stamps) if i != place]
    stamps[place] = {"zero": 0, "below zero": -5}.get(odd, stamps[place] + (ODD[odd] or 0))
    (found, *others), counts, said = through(stamps)
    if place == 19 and not others:  # the last one may be right: nothing contradicts it
        assert counts.refused <= 1
        return
    if place == 19:
        assert others == [[stamps[19]]]
        return
    assert others == []
    lost = set(good) - set(found)
    assert len(lost) <= (1 if odd == "a bit ahead" else 0)  # the first one behind it may be late itself
    assert counts.refused <= 1
    assert not any("new map" in sentence for sentence in said)
    if counts.refused:
        assert len(said) == 1
        assert "refused: its stamp is" in said[0]


@pytest.mark.parametrize("count", [2, 7, 30])
@pytest.mark.parametrize("back_s", [1, 3600, 10**9])
def test_a_clock_that_is_restarted_begins_a_map_and_says_why(count, back_s):
    before, after = regular(12), regular(count, START_NS - back_s * S)
    maps, counts, said = through(before + after)
    assert maps == [before, after]
    assert counts.refused == 0
    assert len(said) == 1
    assert "a new map begins: stamps went back by" in said[0]


def test_a_bag_that_is_played_again_and_again_is_a_map_each_time():
    stamps = regular(15)
    maps, _, said = through(stamps * 4)
    assert maps == [stamps] * 4
    assert len(said) == 3


def test_a_bag_shorter_than_what_is_late_is_not_refused_for_ever():
    stamps = regular(4)
    _, counts, _ = through(stamps * 10)
    assert counts.published >= 30


class Blind(FakePredictor):
    """No camera explains any view: no window leaves anything behind."""

    def predict(self, views, *args):
        self.broken_stamps |= {view.frame.stamp_ns for view in views}
        return super().predict(views, *args)


@pytest.mark.parametrize(
    "later", [regular(10, START_NS - 100 * S), regular(10, S), [START_NS + 10**17, *regular(10, START_NS + S)]],
    ids=["loop", "reset", "one far ahead"],
)  # fmt: skip
def test_the_gate_opens_though_no_window_has_left_anything_behind(later):
    _, counts, said = through(regular(10) + later, Blind)
    assert counts.passed_over == 0
    assert counts.dropped == counts.accepted >= 20
    if later[0] < START_NS:
        assert any("stamps went back" in sentence for sentence in said)


def test_a_real_pause_begins_a_map_with_every_frame_behind_it():
    before, after = regular(9), regular(9, START_NS + 60 * S)
    maps, _, said = through(before + after)
    assert maps == [before, after]
    assert ["no frame for 59.2 s" in sentence for sentence in said] == [True]


def test_pictures_far_apart_all_come_out():
    """Slower than the longest pause: each is a map of its own, and none is taken for odd."""
    stamps = [START_NS + i * 20 * S for i in range(6)]
    maps, counts, _ = through(stamps)
    assert maps == [[stamp] for stamp in stamps]
    assert counts.refused == 0


def frame_at(stamp_ns):
    return (Frame(stamp_ns, "cam", 0, lambda: picture(0)),)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60) | st.integers(10**6, 10**6 + 60) | st.integers(-60, -1), max_size=30))
def test_every_frame_set_is_believed_or_odd_once_and_no_two_wait(seconds):
    order, seen = StampOrder(), []
    for second in seconds:
        checked = order.put(frame_at(second * S), GAP_S)
        seen += [frames[0].stamp_ns // S for frames in (*checked.believed, *filter(None, [checked.odd]))]
        assert bool(checked.odd) == bool(checked.reason)
    seen += [frame.stamp_ns // S for frame in order.release()]
    assert sorted(seen) == sorted(seconds)
    assert order.release() == ()


@settings(max_examples=100, deadline=None)
@given(odd=st.integers(1, 4 * 10**18), place=st.integers(2, 12))
def test_whatever_the_odd_stamp_is_the_good_ones_around_it_are_believed(odd, place):
    order, believed = StampOrder(), []
    stamps = [START_NS + i * S for i in range(16)]
    for stamp in [*stamps[:place], odd, *stamps[place:]]:
        believed += [frames[0].stamp_ns for frames in order.put(frame_at(stamp), GAP_S).believed]
    assert [stamp for stamp in believed if stamp != odd] == [stamp for stamp in stamps if stamp != odd]
