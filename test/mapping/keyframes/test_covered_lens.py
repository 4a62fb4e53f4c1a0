"""A hand before the lens: nothing false is published, nothing is lost, and the map waits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drive import (
    BASE_FROM_CAM,
    COUNT,
    LOCKED,
    Coverable,
    assert_nothing_is_lost,
    assert_true,
    by_history,
    frame,
    make_front_end,
    numbers_of,
    odometry_messages,
    placed_by,
    windows_of,
)
from room import FRAME_NS, SIZE, pose

from dvlt_ros.health import Level, worst
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.keyframes.gate import Thumbnail
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.rig import Rig
from dvlt_ros.mapping.sensors.rig_config import RigConfig

COVERED = range(36, 44)  # frames, 0.8 s


def light_through_fingers():
    """A red glow from one side, and the sensor's noise."""
    rows, columns = np.mgrid[: 1 : SIZE[0] * 1j, : 1 : SIZE[1] * 1j]
    glow = np.exp(-2 * ((rows - 0.2) ** 2 + (columns - 1) ** 2))[..., None] * (70, 30, 15)
    return np.clip(glow + np.random.default_rng(0).normal(5, 1, (*SIZE, 3)), 0, 255).astype(np.uint8)


HANDS = {"black": np.full((*SIZE, 3), 3, np.uint8), "light leaks in": light_through_fingers(), "guesses": None}


@pytest.mark.parametrize("hand", HANDS)
def test_behind_a_covered_lens_nothing_has_a_place_and_the_map_waits(hand):
    predictor = Coverable(COVERED if HANDS[hand] is None else ())
    front_end, said = make_front_end(predictor)
    before = windows_of(front_end, [frame(n) for n in range(1, COVERED.start)])
    assert worst(front_end.health().values()).level == Level.OK
    during = [w for number in COVERED for w in windows_of(front_end, [frame(number, HANDS[hand])])]
    assert numbers_of(during) == []
    assert "is the camera covered?" in worst(front_end.health().values()).text
    assert any("is the camera covered?" in sentence for sentence in said)
    after = windows_of(front_end, [frame(n) for n in range(COVERED.stop, COUNT + 1)])
    assert worst(front_end.health().values()).level == Level.OK
    seen = [n for n in range(1, COUNT + 1) if n not in COVERED]
    assert numbers_of(before + after) == seen
    assert {window.map_id for window in before + during + after} == {0}
    assert all(window.registration.state == "joined" for window in after)
    found = np.stack([r.map_from_cam for window in before + after for r in window.reconstructions])[:, :3, 3]
    first_from_cam = np.stack([inverse(predictor.poses[FRAME_NS]) @ predictor.poses[n * FRAME_NS] for n in seen])
    true = first_from_cam[:, [2, 0, 1], 3] * (1, -1, -1)  # the map is x forward, z up
    unit = np.linalg.norm(found[-1]) / np.linalg.norm(true[-1])
    np.testing.assert_allclose(found, unit * true, atol=5e-3 * unit)
    assert_nothing_is_lost(front_end, COUNT)


def test_what_a_hand_covers_in_part_is_nan_there_and_the_frame_stays():
    front_end, _ = make_front_end(Coverable(COVERED, share=0.25))
    windows = windows_of(front_end, [frame(n) for n in range(1, COUNT + 1)])
    assert numbers_of(windows) == list(range(1, COUNT + 1))
    assert {window.map_id for window in windows} == {0}
    for r in (r for window in windows for r in window.reconstructions):
        hidden = np.isnan(r.depth)
        assert hidden[:6].all() == (r.stamp_ns // FRAME_NS in COVERED)
        assert not hidden[6:].any()


def test_a_network_that_answers_nan_is_no_sight():
    predictor = Coverable(COVERED, guess=(np.nan, np.nan))
    front_end, _ = make_front_end(predictor, confidence_min=1.0)
    windows = windows_of(front_end, [frame(n) for n in range(1, COUNT + 1)])
    assert numbers_of(windows) == [n for n in range(1, COUNT + 1) if n not in COVERED]
    assert np.isfinite([r.map_from_cam for window in windows for r in window.reconstructions]).all()
    assert_nothing_is_lost(front_end, COUNT)


def test_no_real_view_is_taken_for_a_covered_lens():
    """The plainest: a floor of faint tiles, and something that stands out from the dark."""
    rows, columns = np.mgrid[:480, :640]
    rng = np.random.default_rng(0)
    tiles = 120 + 9 * ((rows // 60 + columns // 80) % 2) + 20 * rows / 480
    night = np.where((rows > 200) & (columns < 300), 24, 6)
    for grey in (tiles, night):
        image = np.clip(grey[..., None] + rng.normal(0, 4, (480, 640, 3)), 0, 255).astype(np.uint8)
        assert not Thumbnail.of(image).is_blank


def test_after_a_long_time_behind_a_hand_odometry_has_the_next_piece():
    predictor = Coverable(range(36, 50), count=80)
    front_end, said = make_front_end(predictor, window_max_gap_s=1.0)
    windows = windows_of(front_end, [frame(n) for n in range(1, 81)])
    assert [window.map_id for window in windows][-1] == 1
    assert any("a new map begins: no frame for 1" in sentence for sentence in said)
    look_up, _ = by_history(odometry_messages(predictor, count=80))
    metric, placed = placed_by(look_up, windows)
    assert {window.window.map_id for window in placed} == {0}
    numbers = numbers_of([window.window for window in placed])
    assert min(numbers) <= LOCKED
    assert max(numbers) == 80
    assert not set(numbers) & set(range(36, 50))
    assert_true(placed, predictor)
    assert metric.status.state == "locked"


def test_a_covered_camera_of_a_rig_leaves_the_other_in_its_place():
    mounts = {name: BASE_FROM_CAM @ pose((side, 0, 0)) for name, side in (("left", -0.15), ("right", 0.15))}
    late_ns, predictor = 10**6, Coverable()
    for number in range(1, COUNT + 1):
        left = predictor.poses[number * FRAME_NS]
        predictor.poses[number * FRAME_NS + late_ns] = left @ inverse(mounts["left"]) @ mounts["right"]
    predictor.covered = {number * FRAME_NS + late_ns for number in COVERED}
    front_end, _ = make_front_end(predictor, window_overlap=2)
    front_end = FrontEnd(predictor, front_end.config, rig=Rig(("left", "right"), mounts.__getitem__, RigConfig()))
    frames = [
        replace(frame(number), stamp_ns=number * FRAME_NS + late_ns * (name == "right"), frame_id=name, camera=name)
        for number in range(1, COUNT + 1) for name in ("left", "right")
    ]  # fmt: skip
    windows = windows_of(front_end, frames)
    found = [(r.stamp_ns // FRAME_NS, r.camera) for window in windows for r in window.reconstructions]
    assert [n for n, camera in found if camera == "left"] == list(range(1, COUNT + 1))
    assert [n for n, camera in found if camera == "right"] == [n for n in range(1, COUNT + 1) if n not in COVERED]
    assert {window.map_id for window in windows} == {0}
    assert_nothing_is_lost(front_end, 2 * COUNT)
    _, placed = placed_by(None, windows)
    lefts = [r for window in placed for r in window.window.reconstructions if r.camera == "left"]
    moved, true = (inverse(a) @ b for a, b in (
        (lefts[0].map_from_cam, lefts[-1].map_from_cam),
        (predictor.poses[lefts[0].stamp_ns], predictor.poses[lefts[-1].stamp_ns]),
    ))  # fmt: skip
    np.testing.assert_allclose(moved, true, atol=0.02)
