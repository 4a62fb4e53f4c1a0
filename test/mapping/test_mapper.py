"""The mapper from outside: every frame comes out, one stream of updates tells all, and health says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from configs import mapper_config
from lap import EAGER, LAP, RecognizingPredictor, lap_poses
from room import FRAME_NS, SIZE, picture

from dvlt_ros.errors import InputError
from dvlt_ros.health import Level, worst
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors

NO_LOOPS = {"keyframes_min_change": 0.0, "confidence_cut_share": 0.0, "loops_mode": "never"}
LOOPS = NO_LOOPS | EAGER | {"map_voxel_size": 0.05}


def frame(number, stamp_ns=None, size=SIZE):
    stamp_ns = number * FRAME_NS if stamp_ns is None else stamp_ns
    return Frame(stamp_ns, "cam", stamp_ns, lambda: picture(number, size))


def through(mapper, frames):
    updates = [update for shown in frames if (update := mapper.add(shown)) is not None]
    return [*updates, *mapper.finish()]


def test_every_frame_comes_out_once_in_order_whatever_their_number(make_predictor):
    for count in (1, 2, 7, 8, 9, 23):
        mapper = Mapper(mapper_config(**NO_LOOPS), make_predictor())
        updates = through(mapper, map(frame, range(1, count + 1)))
        stamps = [found.stamp_ns for update in updates for found in update.frames]
        assert stamps == [number * FRAME_NS for number in range(1, count + 1)]
        counts = mapper.counters.read()
        assert (counts.published, counts.dropped, counts.in_flight) == (count, 0, 0)
        assert mapper.snapshot().stamps_ns.tolist() == stamps


def test_frames_before_a_break_are_not_dropped_and_the_next_ones_begin_another_map(make_predictor):
    mapper = Mapper(mapper_config(**NO_LOOPS, window_max_gap_s=1.0), make_predictor())
    updates = through(mapper, map(frame, [1, 2, 3, 31, 32]))
    by_map = {}
    for update in updates:
        by_map.setdefault(update.map_id, []).extend(found.stamp_ns // FRAME_NS for found in update.frames)
    assert by_map == {0: [1, 2, 3], 1: [31, 32]}
    assert mapper.counters.read().dropped == 0


@pytest.mark.parametrize("has_odometry", [False, True], ids=["unscaled", "metres"])
def test_who_follows_the_updates_has_the_path_of_the_map(has_odometry):
    """Corrections, frames that waited for the scale, new frames: nothing else moves the map."""
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    poses = lap_poses(range(1, 3 * LAP))
    sensors = Sensors(odometry=lambda stamp_ns, _: CameraInOdom(poses[stamp_ns], 0)) if has_odometry else Sensors()
    mapper = Mapper(mapper_config(**LOOPS), RecognizingPredictor(poses), sensors)
    followed, waiting, corrections = {}, {}, 0  # by stamp: map, submap, map_from_cam
    for update in through(mapper, map(frame, range(1, 3 * LAP))):
        for correction in update.corrections:
            corrections += 1
            for stamp, (map_id, submap_id, pose) in followed.items():
                moved = correction.poses(map_id, np.array([submap_id]), pose[None])[0]
                is_in_it = map_id in correction.map_ids.tolist()
                followed[stamp] = correction.map_id if is_in_it else map_id, submap_id, moved
        if update.map_from_visual is not None:
            for stamp, (_, submap_id, pose) in waiting.items():
                followed[stamp] = update.map_id, submap_id, update.map_from_visual.apply_to_poses(pose)
            waiting = {}
        known = followed if update.is_placed else waiting
        known |= {f.stamp_ns: (update.map_id, update.window.submap_id, f.map_from_cam) for f in update.frames}
    assert corrections == int(mapper.status.values["loops_closed"]) > 0
    path = mapper.snapshot()
    assert path.stamps_ns.tolist() == sorted(followed)
    expected = np.stack([followed[stamp][2] for stamp in path.stamps_ns.tolist()])
    np.testing.assert_allclose(path.map_from_cam, expected, atol=1e-9)


def test_a_stream_of_which_every_image_is_refused_is_an_error_until_one_is_taken(make_predictor):
    def unreadable():
        raise InputError("encoding nv42 is unknown")

    mapper = Mapper(mapper_config(**NO_LOOPS), make_predictor())
    for number in range(1, 10):
        mapper.add(Frame(number * FRAME_NS, "cam", number * FRAME_NS, unreadable))
    found = worst(mapper.status.health.values())
    assert found.level == Level.ERROR
    assert "9 images were all refused: encoding nv42 is unknown" in found.text
    mapper.add(frame(10))
    assert worst(mapper.status.health.values()).level == Level.OK


@pytest.mark.parametrize("count", [1, 4, 5, 20])
def test_as_long_as_no_image_was_ever_taken_the_reason_is_said(make_predictor, count):
    def unreadable():
        raise InputError("encoding 'h264' is not read")

    mapper = Mapper(mapper_config(**NO_LOOPS), make_predictor())
    assert worst(mapper.status.health.values()).level == Level.OK
    for number in range(1, count + 1):
        mapper.add(Frame(number * FRAME_NS, "cam", number * FRAME_NS, unreadable))
    found = worst(mapper.status.health.values())
    assert found.level == (Level.ERROR if count >= 5 else Level.WARN)
    assert "encoding 'h264' is not read" in found.text
    mapper.add(frame(count + 1))
    mapper.add(Frame((count + 2) * FRAME_NS, "cam", 0, unreadable))  # one bad image among good ones is no news
    assert worst(mapper.status.health.values()).level == Level.OK


def test_an_encoding_is_not_taken_for_a_hand_before_the_lens(make_predictor):
    def unreadable():
        raise InputError("encoding '32FC1' is not read")

    black = Picture(np.zeros((*SIZE, 3), np.uint8), None)
    mapper = Mapper(mapper_config(**NO_LOOPS), make_predictor())
    mapper.add(Frame(FRAME_NS, "cam", 0, lambda: black))
    assert "is the camera covered?" in worst(mapper.status.health.values()).text
    for number in range(2, 9):
        mapper.add(Frame(number * FRAME_NS, "cam", 0, unreadable))
    assert "encoding '32FC1' is not read" in worst(mapper.status.health.values()).text


def test_a_map_that_is_not_kept_and_those_at_the_end_are_handed_over(make_predictor):
    ended = []
    mapper = Mapper(
        mapper_config(**NO_LOOPS, window_max_gap_s=1.0, map_max_points=1000), make_predictor(),
        ended=lambda snapshot, is_placed: ended.append((snapshot.map_id, is_placed)),
    )  # fmt: skip
    through(mapper, map(frame, [1, 2, 3, 21, 22, 23, 41, 42, 43]))
    before = len(ended)
    mapper.close()
    assert before >= 1
    assert sorted(ended) == [(0, True), (1, True), (2, True)]


def test_frames_that_wait_for_a_window_before_them_are_counted_when_the_stream_ends(make_predictor):
    mapper = Mapper(mapper_config(**NO_LOOPS, window_max_gap_s=1.0), make_predictor())
    for number in (1, 2, 31, 32):  # the last two begin another map: the window before them runs first
        mapper.add(frame(number))
    mapper.end_stream()
    counts = mapper.counters.read()
    assert (counts.accepted, counts.published, counts.dropped, counts.in_flight) == (4, 2, 2, 0)


def test_a_reset_begins_another_map_and_what_waits_is_dropped(make_predictor):
    mapper = Mapper(mapper_config(**NO_LOOPS), make_predictor())
    first = through(mapper, map(frame, range(1, 9)))[0]
    mapper.add(frame(9))
    mapper.reset()
    (second,) = through(mapper, map(frame, [10, 11]))
    assert second.map_id == first.map_id + 1
    assert [found.stamp_ns // FRAME_NS for found in second.frames] == [10, 11]
    assert mapper.counters.read().dropped == 1
