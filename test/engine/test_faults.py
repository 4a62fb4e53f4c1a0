"""What goes wrong with robots: nothing false is published, nothing is lost, and the work goes on afterwards."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from room import FRAME_NS, SIZE, FakePredictor, picture, pose, room_depth, walk

from dvlt_ros.engine.config import EngineConfig
from dvlt_ros.engine.engine import Engine
from dvlt_ros.engine.frames import Frame, Picture
from dvlt_ros.engine.keyframes import Thumbnail
from dvlt_ros.engine.metric_map import CameraInOdom, MetricMap
from dvlt_ros.engine.metric_scale import MetricScaleConfig
from dvlt_ros.engine.odometry import OdometryError, OdometryHistory, inverse
from dvlt_ros.engine.rig import Rig
from dvlt_ros.engine.rig_config import RigConfig

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 2.0], [-1, 0, 0, -1.0], [0, -1, 0, 0.5], [0, 0, 0, 1]])  # z up, somewhere
COUNT, LOCKED = 60, 34  # frames of a drive, and one by which the scale has long been known
COVERED = range(36, 44)  # frames, 0.8 s


class Coverable(FakePredictor):
    """Has a hand before the lens at some stamps: all it can do there is guess, and it knows it."""

    def __init__(self, covered=(), share=1.0, count=COUNT, guess=(0.1, 10.0)):
        super().__init__({(i + 1) * FRAME_NS: p for i, p in enumerate(walk(count))})
        self.covered, self.rows = {number * FRAME_NS for number in covered}, round(share * SIZE[0])
        self.guess = guess

    def predict(self, views, num_steps, image_size, decoded):
        found = super().predict(views, num_steps, image_size, decoded)
        depth, confidence, poses = found.depth.copy(), found.confidence.copy(), found.window_from_cam.copy()
        for place, index in enumerate(decoded):
            if views[index].frame.stamp_ns in self.covered:
                depth[place, : self.rows] = np.interp(self.rng.random((self.rows, SIZE[1])), (0, 1), self.guess)
                confidence[place, : self.rows] = 1.0
                if self.rows == SIZE[0]:
                    poses[place] = pose(self.rng.normal(size=3), *self.rng.normal(size=2))
        return replace(found, depth=depth, confidence=confidence, window_from_cam=poses)


def light_through_fingers():
    """A red glow from one side, and the sensor's noise."""
    rows, columns = np.mgrid[: 1 : SIZE[0] * 1j, : 1 : SIZE[1] * 1j]
    glow = np.exp(-2 * ((rows - 0.2) ** 2 + (columns - 1) ** 2))[..., None] * (70, 30, 15)
    return np.clip(glow + np.random.default_rng(0).normal(5, 1, (*SIZE, 3)), 0, 255).astype(np.uint8)


def make_engine(predictor, **changes):
    said = []
    config = EngineConfig(**{"distrusted_share": 0.0, "min_confidence": 1.5} | changes)
    return Engine(predictor, config, said.append, clock_ns=itertools.count(0, 10**6).__next__), said


def frame(number, shows=None):
    shown = picture(number) if shows is None else Picture(shows, picture(0).intrinsics)
    return Frame(number * FRAME_NS, "cam", number * FRAME_NS, lambda: shown)


def windows_of(engine, frames):
    """Every window, and what came of it counts as published."""
    windows = []
    for shown in frames:
        engine.admit(shown)
        if engine.is_full() and (window := engine.run()) is not None:
            windows.append(window)
    while (window := engine.run(flush=True)) is not None:
        windows.append(window)
    engine.counters.add(published=len(numbers_of(windows)))
    return windows


def assert_nothing_is_lost(engine, num_shown):
    counts = engine.counters.read()
    assert counts.in_flight == 0
    assert counts.accepted + counts.refused == num_shown


def numbers_of(windows):
    return [r.stamp_ns // FRAME_NS for window in windows for r in window.reconstructions]


def by_history(messages, base_from_cam=BASE_FROM_CAM):
    """What the wheels say of the camera; ``messages`` are (number, odom_from_base or None), NaN and jumps included."""
    history, refused = OdometryHistory(), []
    for number, odom_from_base in messages:
        try:
            history.add(number * FRAME_NS, odom_from_base)
        except OdometryError as error:
            refused.append(str(error))

    def look_up(stamp_ns, _):
        found = history.at(stamp_ns)
        return CameraInOdom(found.odom_from_base @ base_from_cam, found.stretch)

    return look_up, refused


def wheels(predictor, change=lambda number, odom_from_base: odom_from_base, count=COUNT):
    """A message per frame, as ``change`` spoils it; None: it never comes."""
    true = {n: ODOM_FROM_WORLD @ predictor.poses[n * FRAME_NS] @ inverse(BASE_FROM_CAM) for n in range(1, count + 1)}
    said = ((number, change(number, odom_from_base)) for number, odom_from_base in true.items())
    return [(number, odom_from_base) for number, odom_from_base in said if odom_from_base is not None]


def placed_by(look_up, windows):
    metric = MetricMap(look_up, MetricScaleConfig())
    placed = [metric.place(window) for window in windows]
    return metric, [window for window in placed if window.is_metric]


def assert_true(placed, predictor, atol=1e-2):
    for window in placed:
        for r in window.window.reconstructions:
            np.testing.assert_allclose(r.map_from_cam, ODOM_FROM_WORLD @ predictor.poses[r.stamp_ns], atol=atol)
            np.testing.assert_allclose(r.depth, room_depth(predictor.poses[r.stamp_ns]), rtol=1e-2)


@pytest.fixture(scope="module")
def drive():
    """(predictor, windows) with nothing in the way."""
    predictor = Coverable()
    engine, _ = make_engine(predictor)
    return predictor, windows_of(engine, [frame(n) for n in range(1, COUNT + 1)])


HANDS = {"black": np.full((*SIZE, 3), 3, np.uint8), "light leaks in": light_through_fingers(), "guesses": None}


@pytest.mark.parametrize("hand", HANDS)
def test_behind_a_covered_lens_nothing_has_a_place_and_the_map_waits(hand):
    predictor = Coverable(COVERED if HANDS[hand] is None else ())
    engine, said = make_engine(predictor)
    before = windows_of(engine, [frame(n) for n in range(1, COVERED.start)])
    assert engine.sight_problem == ""
    during = [w for number in COVERED for w in windows_of(engine, [frame(number, HANDS[hand])])]
    assert numbers_of(during) == []
    assert "is the camera covered?" in engine.sight_problem
    assert any("is the camera covered?" in sentence for sentence in said)
    after = windows_of(engine, [frame(n) for n in range(COVERED.stop, COUNT + 1)])
    assert engine.sight_problem == ""
    seen = [n for n in range(1, COUNT + 1) if n not in COVERED]
    assert numbers_of(before + after) == seen
    assert {window.map_id for window in before + during + after} == {0}
    assert all(window.seam.state == "joined" for window in after)
    found = np.stack([r.map_from_cam for window in before + after for r in window.reconstructions])[:, :3, 3]
    first_from_cam = np.stack([inverse(predictor.poses[FRAME_NS]) @ predictor.poses[n * FRAME_NS] for n in seen])
    true = first_from_cam[:, [2, 0, 1], 3] * (1, -1, -1)  # the map is x forward, z up
    unit = np.linalg.norm(found[-1]) / np.linalg.norm(true[-1])
    np.testing.assert_allclose(found, unit * true, atol=5e-3 * unit)
    assert_nothing_is_lost(engine, COUNT)


def test_what_a_hand_covers_in_part_is_nan_there_and_the_frame_stays():
    engine, _ = make_engine(Coverable(COVERED, share=0.25))
    windows = windows_of(engine, [frame(n) for n in range(1, COUNT + 1)])
    assert numbers_of(windows) == list(range(1, COUNT + 1))
    assert {window.map_id for window in windows} == {0}
    for r in (r for window in windows for r in window.reconstructions):
        hidden = np.isnan(r.depth)
        assert hidden[:6].all() == (r.stamp_ns // FRAME_NS in COVERED)
        assert not hidden[6:].any()


def test_a_network_that_answers_nan_is_no_sight():
    predictor = Coverable(COVERED, guess=(np.nan, np.nan))
    engine, _ = make_engine(predictor, min_confidence=1.0)
    windows = windows_of(engine, [frame(n) for n in range(1, COUNT + 1)])
    assert numbers_of(windows) == [n for n in range(1, COUNT + 1) if n not in COVERED]
    assert np.isfinite([r.map_from_cam for window in windows for r in window.reconstructions]).all()
    assert_nothing_is_lost(engine, COUNT)


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
    engine, said = make_engine(predictor, max_gap_s=1.0)
    windows = windows_of(engine, [frame(n) for n in range(1, 81)])
    assert [window.map_id for window in windows][-1] == 1
    assert any("a new map begins: no frame for 1" in sentence for sentence in said)
    look_up, _ = by_history(wheels(predictor, count=80))
    metric, placed = placed_by(look_up, windows)
    assert {window.window.map_id for window in placed} == {0}
    numbers = numbers_of([window.window for window in placed])
    assert min(numbers) <= LOCKED
    assert max(numbers) == 80
    assert not set(numbers) & set(range(36, 50))
    assert_true(placed, predictor)
    assert metric.status.state == "locked"


def stops(number, odom_from_base):
    return odom_from_base if number < LOCKED else None


def is_silent_for_a_while(number, odom_from_base):
    return None if number in range(LOCKED, LOCKED + 10) else odom_from_base


def is_nan_for_a_while(number, odom_from_base):
    return np.full((4, 4), np.nan) if number in range(LOCKED, LOCKED + 10) else odom_from_base


def jumps(number, odom_from_base):
    return pose((4, -2, 1), 0.7) @ odom_from_base if number >= LOCKED else odom_from_base


def jumps_and_jumps_back(number, odom_from_base):
    return pose((4, 0, 0)) @ odom_from_base if number in range(LOCKED, LOCKED + 7) else odom_from_base


@pytest.mark.parametrize("fault", [stops, is_silent_for_a_while, is_nan_for_a_while, jumps, jumps_and_jumps_back])
def test_whatever_odometry_does_the_camera_stays_where_it_is_seen(drive, fault):
    predictor, windows = drive
    look_up, refused = by_history(wheels(predictor, fault))
    assert len(refused) == (10 if fault is is_nan_for_a_while else 0)
    metric, placed = placed_by(look_up, windows)
    assert numbers_of([window.window for window in placed])[-1] == COUNT
    assert {window.window.map_id for window in placed} == {0}
    assert_true(placed, predictor)
    assert bool(metric.problem) == (fault is stops)
    assert metric.disagreement == ""


def test_wheels_that_stand_while_the_camera_moves_are_named(drive):
    predictor, windows = drive
    true = dict(wheels(predictor))
    look_up, _ = by_history(wheels(predictor, lambda number, _: true[min(number, LOCKED)]))
    metric = MetricMap(look_up, MetricScaleConfig())
    said = [metric.disagreement for window in windows if metric.place(window).is_metric]
    assert said[0] == ""
    assert said[-1] == "odometry and images are 1.8 m apart; do the wheels slip?"


@pytest.mark.parametrize("fault", [lambda number, _: None, lambda number, _: np.full((4, 4), np.nan)])
def test_without_one_good_message_nothing_has_metres_and_the_reason_is_said(drive, fault):
    predictor, windows = drive
    metric, placed = placed_by(by_history(wheels(predictor, fault))[0], windows)
    assert placed == []
    assert metric.status.state == "unknown"
    assert metric.problem == "no odometry has arrived"


def test_a_mount_that_becomes_known_late_gives_metres_from_then_on(drive):
    predictor, windows = drive
    by_wheels, _ = by_history(wheels(predictor))

    def look_up(stamp_ns, frame_id):
        if stamp_ns < 20 * FRAME_NS:
            raise OdometryError("no transform from 'cam' to 'base_link'")
        return by_wheels(stamp_ns, frame_id)

    metric = MetricMap(look_up, MetricScaleConfig())
    assert not metric.place(windows[0]).is_metric
    assert "no transform" in metric.problem
    placed = [window for window in map(metric.place, windows[1:]) if window.is_metric]
    assert 20 < min(numbers_of([window.window for window in placed])) < COUNT
    assert_true(placed, predictor)
    assert metric.problem == ""


@pytest.mark.parametrize(("angle", "is_believed"), [(0.0, True), (0.15, True), (0.6, False)])
def test_the_residual_shows_a_wrong_mount_and_a_very_wrong_one_gives_no_metres(drive, angle, is_believed):
    predictor, windows = drive
    look_up, _ = by_history(wheels(predictor), BASE_FROM_CAM @ pose((0, 0, 0), angle))
    metric, placed = placed_by(look_up, windows)
    assert bool(placed) == is_believed
    if is_believed:
        assert metric.status.residual == pytest.approx(2 * np.sin(angle / 2), abs=0.03)
    else:
        assert "mount" in metric.status.reason


def test_a_covered_camera_of_a_rig_leaves_the_other_in_its_place():
    mounts = {name: BASE_FROM_CAM @ pose((side, 0, 0)) for name, side in (("left", -0.15), ("right", 0.15))}
    late_ns, predictor = 10**6, Coverable()
    for number in range(1, COUNT + 1):
        left = predictor.poses[number * FRAME_NS]
        predictor.poses[number * FRAME_NS + late_ns] = left @ inverse(mounts["left"]) @ mounts["right"]
    predictor.covered = {number * FRAME_NS + late_ns for number in COVERED}
    engine, _ = make_engine(predictor, window_overlap=2)
    engine = Engine(predictor, engine.config, rig=Rig(("left", "right"), mounts.__getitem__, RigConfig()))
    frames = [
        replace(frame(number), stamp_ns=number * FRAME_NS + late_ns * (name == "right"), frame_id=name, camera=name)
        for number in range(1, COUNT + 1) for name in ("left", "right")
    ]  # fmt: skip
    windows = windows_of(engine, frames)
    found = [(r.stamp_ns // FRAME_NS, r.camera) for window in windows for r in window.reconstructions]
    assert [n for n, camera in found if camera == "left"] == list(range(1, COUNT + 1))
    assert [n for n, camera in found if camera == "right"] == [n for n in range(1, COUNT + 1) if n not in COVERED]
    assert {window.map_id for window in windows} == {0}
    assert_nothing_is_lost(engine, 2 * COUNT)
    _, placed = placed_by(None, windows)
    lefts = [r for window in placed for r in window.window.reconstructions if r.camera == "left"]
    moved, true = (inverse(a) @ b for a, b in (
        (lefts[0].map_from_cam, lefts[-1].map_from_cam),
        (predictor.poses[lefts[0].stamp_ns], predictor.poses[lefts[-1].stamp_ns]),
    ))  # fmt: skip
    np.testing.assert_allclose(moved, true, atol=0.02)
