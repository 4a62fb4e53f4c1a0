"""Frames in, reconstructions out: nothing is lost, everything is in one map, and trouble is survived."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, INTRINSICS, SIZE, picture

from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.front_end.warm_up import warm_up
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.model import Dvlt


@pytest.fixture
def make_front_end():
    """A front end whose clock advances by 1 ms with each reading."""

    def make(predictor, **changes):
        said = []
        ticks = itertools.count(0, 1_000_000)
        front_end = FrontEnd(predictor, mapper_config(**changes), said.append, clock_ns=lambda: next(ticks))
        return front_end, said

    return make


def feed(front_end, frames, every=1):
    """Admits frames, running after every few; returns all reconstructions and all windows."""
    windows = []
    for count, frame in enumerate(frames, start=1):
        front_end.admit(frame)
        if count % every == 0 and (window := front_end.run()) is not None:
            windows.append(window)
    while (window := front_end.run(flush=True)) is not None:
        windows.append(window)
    return [r for window in windows for r in window.reconstructions], windows


@pytest.mark.parametrize("every", [1, 2, 5])
def test_every_frame_comes_out_once_in_one_map(make_front_end, make_predictor, make_frame, every):
    predictor = make_predictor()
    front_end, said = make_front_end(predictor)
    found, windows = feed(front_end, [make_frame(n) for n in range(1, 41)], every)
    assert [r.stamp_ns for r in found] == [n * FRAME_NS for n in range(1, 41)]
    assert {r.map_id for r in found} == {0}
    assert said == []
    assert windows[0].registration.state == "first"
    assert all(window.registration.state == "joined" and window.registration.residual < 1e-4 for window in windows[1:])
    true = np.linalg.inv(predictor.poses[FRAME_NS])
    true = np.stack([true @ predictor.poses[r.stamp_ns] for r in found])[:, :3, 3]
    positions = np.stack([r.map_from_cam for r in found])[:, :3, 3]
    optical = np.stack([-positions[:, 1], -positions[:, 2], positions[:, 0]], axis=-1)  # the map is x forward, z up
    scale = np.linalg.norm(optical[-1]) / np.linalg.norm(true[-1])
    np.testing.assert_allclose(optical, scale * true, atol=1e-3 * scale)


def test_windows_share_their_overlap_and_no_more(make_front_end, make_predictor, make_frame):
    predictor = make_predictor()
    front_end, _ = make_front_end(predictor, window_size=6, window_overlap=2)
    feed(front_end, [make_frame(n) for n in range(1, 13)], every=2)
    assert predictor.windows[0] == [0, 1]
    for before, window in itertools.pairwise(predictor.windows):
        assert window[:2] == before[-2:]
        assert window[2:] == [before[-1] + 1, before[-1] + 2]


@pytest.mark.parametrize(
    ("asked", "cut"), [({}, 0.4), ({"confidence_cut_share": 0.0}, 0.0), ({"confidence_cut_share": 0.2}, 0.2)]
)
def test_the_share_that_is_cut_is_the_checkpoints_unless_it_is_set(
    make_front_end, make_predictor, make_frame, asked, cut
):
    predictor = make_predictor()
    predictor.cut_share = 0.4
    predict = predictor.predict

    def with_confidence(*request):
        found = predict(*request)
        return replace(found, confidence=1 + np.random.default_rng(0).random(found.depth.shape))

    predictor.predict = with_confidence
    front_end, _ = make_front_end(predictor, **asked)
    found, _ = feed(front_end, [make_frame(n) for n in range(1, 9)], every=3)
    assert np.mean([np.isnan(r.depth).mean() for r in found]) == pytest.approx(cut, abs=0.01)


def test_points_depth_and_pose_are_of_one_scale(make_front_end, make_predictor, make_frame):
    predictor = make_predictor()
    front_end, _ = make_front_end(predictor, confidence_cut_share=0.0)
    found, _ = feed(front_end, [make_frame(n) for n in range(1, 20)], every=3)
    first, last = found[0], found[-1]
    rows, columns = 7, 20
    pixel = np.array([columns + 0.5, rows + 0.5, 1.0])
    expected = np.linalg.inv(INTRINSICS) @ pixel * last.depth[rows, columns]
    in_map = last.map_from_cam @ np.append(expected, 1)
    cloud = last.cloud()
    assert len(cloud.points) == SIZE[0] * SIZE[1]
    pixel = rows * SIZE[1] + columns
    np.testing.assert_allclose(cloud.points[pixel], in_map[:3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(cloud.colors[pixel], last.picture.image[rows, columns])
    thin = last.cloud(stride=3)
    assert len(thin.points) == 8 * 11
    np.testing.assert_allclose(thin.points[0], cloud.points[SIZE[1] + 1], rtol=1e-5)
    floor = [r.cloud().points[:, 2].min() for r in (first, last)]  # both see the floor, which is flat
    assert floor[0] == pytest.approx(floor[1], rel=1e-2)


def test_the_newest_frames_win_and_what_is_dropped_is_counted(make_front_end, make_predictor, make_frame):
    predictor = make_predictor()
    front_end, _ = make_front_end(predictor, window_size=6, window_overlap=2)
    first, _ = feed(front_end, [make_frame(n) for n in range(1, 5)])
    second, windows = feed(front_end, [make_frame(n) for n in range(5, 20)], every=100)
    assert [r.stamp_ns // FRAME_NS for r in second] == [16, 17, 18, 19]
    assert predictor.windows[-1][:2] == [2, 3]  # what overlaps is never dropped
    assert windows[-1].registration.state == "joined"
    counts = front_end.counters.read()
    assert (counts.accepted, counts.dropped) == (19, 11)
    assert len(first) + len(second) == counts.in_flight == 8  # nobody has published them


def test_a_single_frame_waits_for_company_unless_flushed(make_front_end, make_predictor, make_frame):
    front_end, _ = make_front_end(make_predictor(), window_max_wait_s=0.25)
    assert front_end.flush_at_ns() is None
    front_end.admit(make_frame(3))
    assert front_end.run() is None
    assert front_end.flush_at_ns() == 3 * FRAME_NS + 250_000_000
    window = front_end.run(flush=True)
    assert len(window.reconstructions) == 1
    assert front_end.flush_at_ns() is None


def test_frames_without_news_are_passed_over_until_the_heartbeat(make_front_end, make_predictor, make_frame):
    same = picture(0)
    front_end, _ = make_front_end(make_predictor(), keyframes_heartbeat_s=1.0)
    found, _ = feed(front_end, [make_frame(n, shows=same) for n in range(1, 32)])
    assert [r.stamp_ns // FRAME_NS for r in found] == [1, 11, 21, 31]
    assert front_end.counters.read().passed_over == 27


def test_keyframes_keep_their_distance_in_time(make_front_end, make_predictor, make_frame):
    front_end, _ = make_front_end(make_predictor(), keyframes_min_interval_s=0.3)
    found, _ = feed(front_end, [make_frame(n) for n in range(1, 11)])
    assert [r.stamp_ns // FRAME_NS for r in found] == [1, 4, 7, 10]


def raises_input_error():
    raise InputError("it is truncated: 3 bytes of 9")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (Frame(5 * FRAME_NS, "cam", 0, lambda: picture(5), problem="its stamp is zero"), "stamp is zero"),
        (Frame(4 * FRAME_NS, "cam", 0, lambda: picture(5)), "0.000 s behind"),
        (Frame(3 * FRAME_NS, "cam", 0, lambda: picture(5)), "0.100 s behind"),
        (Frame(5 * FRAME_NS, "cam", 0, raises_input_error), "truncated: 3 bytes of 9"),
        (Frame(5 * FRAME_NS, "cam", 0, lambda: Picture(np.full((*SIZE, 3), 9, np.uint8), None)), "covered"),
    ],
    ids=["a problem that is known", "same stamp", "late", "unreadable", "covered"],
)
def test_a_bad_frame_is_refused_with_its_reason_and_work_goes_on(
    make_front_end, make_predictor, make_frame, frame, reason
):
    front_end, said = make_front_end(make_predictor())
    feed(front_end, [make_frame(n) for n in range(1, 5)])
    front_end.admit(frame)
    assert len(said) == 1
    assert reason in said[0]
    assert front_end.counters.read().refused == 1
    found, _ = feed(front_end, [make_frame(n) for n in range(6, 9)])
    assert [(r.stamp_ns // FRAME_NS, r.map_id) for r in found] == [(6, 0), (7, 0), (8, 0)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stamp_ns": 1 * FRAME_NS}, "went back by 1.9 s"),
        ({"stamp_ns": 60 * FRAME_NS}, "no frame for 4.0 s"),
        ({"frame_id": "other"}, "the camera is now 'other'"),
        ({"shows": picture(7, (48, 64))}, "images are now 64 x 48"),
    ],
)
def test_another_stream_begins_another_map(make_front_end, make_predictor, make_frame, changes, reason):
    predictor = make_predictor(count=100)
    front_end, said = make_front_end(predictor, window_max_gap_s=3.0)
    feed(front_end, [make_frame(n) for n in range(10, 21)])
    front_end.admit(make_frame(21, **changes))
    if "stamp_ns" in changes:  # it may be odd: the next one decides
        assert said == []
        front_end.admit(make_frame(22, stamp_ns=changes["stamp_ns"] + FRAME_NS))
    assert len(said) == 1
    assert reason in said[0]
    assert predictor.resets == 1
    window = front_end.run(flush=True)
    assert (window.map_id, window.registration.state) == (1, "first")
    assert window.num_views == (2 if "stamp_ns" in changes else 1)
    np.testing.assert_allclose(window.reconstructions[0].map_from_cam[:3, 3], 0, atol=1e-9)


def test_a_window_that_does_not_join_begins_another_map_and_is_not_glued(make_front_end, make_predictor, make_frame):
    predictor = make_predictor()
    front_end, said = make_front_end(predictor)
    feed(front_end, [make_frame(n) for n in range(1, 11)])
    predictor.scrambled_stamps |= {n * FRAME_NS for n in range(1, 11)}  # what was seen is no longer recognized
    found, windows = feed(front_end, [make_frame(11)])
    assert windows[0].registration.state == "refused"
    assert windows[0].map_id == found[0].map_id == 1
    assert any("does not join" in sentence for sentence in said)
    predictor.scrambled_stamps.clear()
    found, windows = feed(front_end, [make_frame(n) for n in (12, 13, 14, 15)])
    assert {r.map_id for r in found} <= {1, 2}  # the scrambled views may cost one more map
    assert windows[-1].registration.state == "joined"


def test_a_frame_without_a_camera_is_dropped_and_never_published_at_the_origin(
    make_front_end, make_predictor, make_frame
):
    front_end, said = make_front_end(make_predictor(broken_stamps={7 * FRAME_NS, 8 * FRAME_NS}))
    found, _ = feed(front_end, [make_frame(n) for n in range(1, 13)])
    assert [r.stamp_ns // FRAME_NS for r in found] == [1, 2, 3, 4, 5, 6, 9, 10, 11, 12]
    assert {r.map_id for r in found} == {0}
    assert all("no camera explains" in sentence for sentence in said)
    assert front_end.counters.read().dropped == 2


def test_out_of_memory_shrinks_the_window_and_work_goes_on(make_front_end, make_predictor, make_frame):
    predictor = make_predictor(largest_window=5)
    front_end, said = make_front_end(predictor, window_size=8, window_overlap=3)
    found, _ = feed(front_end, [make_frame(n) for n in range(1, 25)], every=6)
    assert any("out of memory" in sentence for sentence in said)
    assert max(map(len, predictor.windows)) <= 5
    assert found[-1].stamp_ns == 24 * FRAME_NS
    counts = front_end.counters.read()
    assert counts.accepted == 24 == len(found) + counts.dropped


def test_the_confidence_decides_what_is_trusted(make_front_end, make_predictor, make_frame):
    front_end, _ = make_front_end(make_predictor(), confidence_min=2.5, confidence_min_share=0.0)
    found, _ = feed(front_end, [make_frame(1), make_frame(2)])
    assert all(np.isnan(r.depth).all() and not len(r.cloud().points) for r in found)
    front_end.configure(mapper_config(confidence_min=1.5))
    found, _ = feed(front_end, [make_frame(3)])
    assert np.isfinite(found[0].depth).all()


def test_an_empty_range_of_k_is_refused(make_front_end, make_predictor):
    front_end, _ = make_front_end(make_predictor())
    with pytest.raises(ConfigError, match=r"budget\.k_min 12 is above budget\.k_max 8"):
        front_end.configure(mapper_config(budget_k_min=12))
    assert front_end.config.budget.k_min == 0


def test_memory_is_bounded(make_front_end, make_predictor, make_frame):
    predictor = make_predictor(count=400)
    front_end, _ = make_front_end(predictor)
    shown = [picture(n) for n in range(2)]
    for n in range(1, 400):
        front_end.admit(make_frame(n, shows=shown[n % 2]))
        front_end.run()
        held = front_end._buffer
        assert held.num_waiting <= 8
        assert len(held._retained) <= 3


def test_the_first_window_after_warming_up_is_planned_for_this_machine(make_front_end, make_predictor, make_frame):
    predictor = make_predictor()
    predictor.poses[1] = np.eye(4)  # the pictures that it warms up with have this stamp
    front_end, _ = make_front_end(predictor, budget_latency_ms=1000.0)
    warm_up(front_end)
    for number in (1, 2):
        front_end.admit(make_frame(number))
    result = front_end.run()
    assert result.plan.predicted_ms is not None
    assert result.plan.num_steps == predictor.max_steps > predictor.min_steps
    assert front_end.counters.read().accepted == 2


def test_another_resolution_of_the_network_joins_the_same_map(make_frame):
    """As the budget's quality levels may choose with any window, and back again."""
    model = Dvlt.from_pretrained(EMBEDDED_WEIGHTS)
    config = mapper_config(budget_k_max=2, keyframes_min_change=0.0, registration_max_residual=1.0)
    front_end = FrontEnd(DvltPredictor(model, "cpu"), config)
    shapes, registrations = [], []
    for number, size in enumerate([112, 112, 84, 84, 112, 112], start=1):
        front_end.configure(replace(front_end.config, model=ModelConfig(image_size=size)))
        front_end.admit(make_frame(number, shows=picture(number, (84, 112))))
        if (result := front_end.run()) is not None:
            shapes += [r.depth.shape for r in result.reconstructions]
            registrations.append(result.registration.state)
    assert shapes == [(84, 112), (84, 112), (56, 84), (56, 84), (84, 112), (84, 112)]
    assert registrations == ["first", *["joined"] * 4]
