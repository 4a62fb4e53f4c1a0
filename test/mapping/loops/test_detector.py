"""Loops in the running engine: places are found again, the map moves once, and what is only alike is never glued."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import endurance
import numpy as np
import pytest
from configs import config, mapper_config
from room import FRAME_NS, INTRINSICS, SIZE, picture, pose, room_depth
from simulated_robot import TrajectoryError, run
from simulation.building import make_robot
from simulation.network import PredictionNoise, SimulatedPredictor

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.budget.config import WindowConfig
from dvlt_ros.mapping.budget.controller import BudgetController
from dvlt_ros.mapping.budget.limits import Limits
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.frames import Frame, Picture, Reconstruction
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.loop_closer import prepare_loops
from dvlt_ros.mapping.loops.config import LoopsConfig
from dvlt_ros.mapping.loops.detector import LoopDetector
from dvlt_ros.mapping.loops.verification import UnverifiedLoop
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.builder import MAX_KEPT, MapBuilder
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.pose_graph.factors import library
from dvlt_ros.mapping.pose_graph.graph import PoseGraphConfig
from dvlt_ros.mapping.pose_graph.submap_graph import SubmapGraph
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.submaps.submap import StoredView, Submap, stride_of, thinned_intrinsics
from dvlt_ros.model import Dvlt, PixelMapping

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")

PATH_M = 75.0  # it comes back to where it began
RARE = config(LoopsConfig, loops_place_distance=0.1, loops_check_every=4, loops_rest=10)
EAGER = config(LoopsConfig, loops_check_every=1, loops_rest=0)
NO_NOISE = PredictionNoise(noise=0.005, outliers=0.0, warp=0.0, bend_deg=0.05, features=0.3)


@pytest.fixture(scope="module")
def robot():
    return make_robot(0, PATH_M)


# Whole drives


def test_with_odometry_a_loop_moves_the_map_once_and_odom_never(robot):
    drive = run(robot, PredictionNoise(), has_loops=True)
    closed = int(drive.status.values["loops_closed"])
    assert closed >= 1
    assert float(drive.status.values["loop_residual"]) < 0.05
    found, true = drive.metric
    assert np.isfinite(found).all()
    ate = TrajectoryError.of(drive.corrected[:, :3, 3], true[:, :3, 3])
    assert ate.se3_m < 0.007 * robot.length_m
    metres, degrees = drive.steps.max(axis=0)
    assert metres < 0.05
    assert degrees < 0.5
    corrected = [update for update in drive.updates if update.corrections]
    assert len(corrected) == closed
    assert {update.map_id for update in drive.updates if update.is_metric} == {0}
    for placed in corrected:  # REP-105: map -> odom composed with the robot's own odom -> camera is the camera
        newest = placed.window.reconstructions[-1]
        odom_from_cam = robot.odometry.at(newest.stamp_ns).odom_from_base @ robot.base_from_cam["front"]
        np.testing.assert_allclose(placed.map_from_odom @ odom_from_cam, newest.map_from_cam, atol=1e-9)


def test_a_network_that_makes_one_place_of_any_two_does_no_great_harm(robot):
    drive = run(robot, PredictionNoise(), has_loops=True, is_fooled=True)
    assert int(drive.status.values["loops_refused"]) > int(drive.status.values["loops_closed"])
    ate = TrajectoryError.of(drive.corrected[:, :3, 3], drive.metric[1][:, :3, 3])
    assert ate.se3_m < 0.01 * robot.length_m


@pytest.fixture(scope="module")
def kidnapped(robot):
    """Windows of a drive whose middle the camera did not see, through unscaled map and builder; no odometry."""
    predictor = SimulatedPredictor(robot, NO_NOISE)
    mapper = Mapper(replace(mapper_config(map_voxel_size=0.1), loops=EAGER), predictor)
    placed, snapshots = [], []
    for frame in robot.frames():
        if 20 < frame.stamp_ns * 1e-9 < 32:
            continue
        before = mapper.snapshot()
        if (update := mapper.add(frame)) is not None:
            placed.append(update)
            snapshots += [before for _ in update.corrections]
    return placed, snapshots, mapper


def test_a_kidnapped_robot_begins_a_map_and_a_loop_joins_it_to_the_old_one(robot, kidnapped):
    placed, snapshots, mapper = kidnapped
    assert [map_id for map_id, _ in itertools.groupby(p.window.map_id for p in placed)] == [0, 1, 0]
    assert int(mapper.status.values["loops_closed"]) >= 1
    assert (snapshots[0].map_id, mapper.snapshot().map_id) == (1, 0)
    path = mapper.snapshot()
    assert path.stamps_ns[0] * 1e-9 < 20
    assert (np.diff(path.stamps_ns) > 0).all()
    assert mapper.snapshots()[:-1] == []
    true = np.stack([robot.truth["front", stamp] for stamp in path.stamps_ns.tolist()])
    assert TrajectoryError.of(path.map_from_cam[:, :3, 3], true[:, :3, 3]).sim3_m < 0.5


def test_one_look_alike_alone_joins_no_maps(kidnapped):
    """The first loop between two maps has nothing to be compared with: a second one must say the same."""
    _, _, mapper = kidnapped
    graph = SubmapGraph(is_metric=False)
    for number in range(4):
        submap = a_submap(number, num_registrations=number % 2)
        graph.add(submap, IDENTITY, map_id=number // 2, camera=None)
    found = graph.close(LoopClosure(0, 2, IDENTITY, 0.01))
    assert isinstance(found, RejectedLoop)
    assert "waits for a second one" in found.reason
    correction = graph.close(LoopClosure(1, 3, IDENTITY, 0.01))
    assert isinstance(correction, Correction)
    assert (correction.map_id, correction.map_ids.tolist()) == (0, [0, 0, 1, 1])
    assert int(mapper.status.values["loops_refused"]) >= 1  # so it was on the drive


# Parts


def a_submap(number, num_registrations=1, x=None, forgotten=()):
    map_from_cam = pose((number if x is None else x, 0, 0))
    return Submap(number, 0, (number + 1) * FRAME_NS, "cam", map_from_cam, 3.0, num_registrations, forgotten)


def moved_by(x, scale=1.0):
    return Sim3.of(scale, np.eye(3), np.array([x, 0.0, 0.0]))


def test_submaps_that_the_graph_has_merged_can_still_be_returned_to():
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    for number in range(40):
        graph.add(a_submap(number, num_registrations=min(number, 1), forgotten=(number - 35,)), IDENTITY, 0, None)
    assert len(graph) == 12
    assert graph.expected_scale(20, 39) == pytest.approx(1.0)
    assert graph.expected_scale(2, 39) is None  # it has been forgotten
    correction = graph.close(LoopClosure(20, 39, moved_by(0.1), 0.02))
    assert isinstance(correction, Correction)
    assert correction.map_id == 0
    assert len(correction.submaps) == 12
    assert "does not know its ends" in graph.close(LoopClosure(2, 39, IDENTITY, 0.02)).reason


def test_a_place_is_forgotten_while_its_successors_still_wait_for_theirs():
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    for number in range(30):
        graph.add(a_submap(number, num_registrations=min(number, 1)), IDENTITY, 0, None)
    merged = next(number for number in range(30) if number in graph._beside)
    assert graph.expected_scale(merged, 29) == pytest.approx(1.0)
    graph.hold(a_submap(30, forgotten=(merged,)), None)
    assert graph.expected_scale(merged, 29) is None


def test_what_the_graph_remembers_is_bounded_in_whatever_order_places_are_forgotten():
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    rng, known = np.random.default_rng(0), []
    for number in range(300):
        forgotten = (known.pop(rng.integers(len(known) // 2)),) if len(known) == 20 else ()
        known.append(number)
        graph.add(a_submap(number, num_registrations=min(number, 1), forgotten=forgotten), IDENTITY, 0, None)
        assert set(graph._beside) <= set(known)
        assert len(graph._unwanted) <= 12


def test_a_loop_moves_no_map_in_which_the_camera_has_no_place():
    """With the scale lost, where the camera is could not move with the map."""
    graph = SubmapGraph(is_metric=True)
    for number in range(3):
        graph.add(a_submap(number, num_registrations=min(number, 1)), IDENTITY, 0, None)
    metric = MetricMap(None, ScaleConfig(), graph=graph)
    found = metric.close(LoopClosure(0, 2, moved_by(2.0), 0.01))
    assert isinstance(found, RejectedLoop)
    assert "the camera has no place" in found.reason


def test_scales_of_different_maps_are_comparable_only_in_metres():
    for is_metric in (True, False):
        graph = SubmapGraph(is_metric)
        graph.add(a_submap(0, num_registrations=0), moved_by(0.0, scale=2.0), 0, None)
        graph.add(a_submap(1, num_registrations=0), moved_by(0.0, scale=3.0), 1, None)
        assert graph.expected_scale(0, 1) == (pytest.approx(1.5) if is_metric else None)


def test_points_and_poses_move_with_the_submap_before_them():
    correction = Correction(5, np.array([3, 7]), np.array([1, 1]), stacked([moved_by(1.0), moved_by(2.0, scale=2.0)]))
    points = np.ones((4, 3), np.float32)
    moved = correction.points(1, np.array([2, 3, 6, 9]), points)
    np.testing.assert_allclose(moved[:, 0], [2, 2, 2, 4])
    np.testing.assert_allclose(correction.points(4, np.zeros(4, int), points), points)
    poses = correction.poses(1, np.array([8]), pose((1, 1, 1), 0.3)[None])
    np.testing.assert_allclose(poses[0], pose((4, 2, 2), 0.3))  # rigid: the scale is that of the depths


def a_reconstruction(number, map_id):
    map_from_cam = pose((0, 0, 0))
    return Reconstruction(
        number * FRAME_NS, "cam", 0, map_id, picture(0), room_depth(map_from_cam), np.full(SIZE, 2.0, np.float32),
        INTRINSICS, map_from_cam, PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)),
    )  # fmt: skip


def test_a_joined_map_is_one_and_both_have_moved():
    builder = MapBuilder(MapConfig(voxel_size=0.05))
    builder.add(a_reconstruction(1, map_id=0), submap_id=0)
    old = builder.snapshot()
    builder.add(a_reconstruction(2, map_id=3), submap_id=1)
    assert [kept.map_id for kept in builder.snapshots()[:-1]] == [0]
    builder.correct(Correction(0, np.array([0, 1]), np.array([0, 3]), stacked([moved_by(10.0), moved_by(-10.0)])))
    joined = builder.snapshot()
    assert joined.map_id == 0
    assert builder.snapshots()[:-1] == []
    np.testing.assert_allclose(joined.map_from_cam[:, 0, 3], [10, -10])
    assert len(joined.cloud.points) >= 2 * len(old.cloud.points) - 10
    right = joined.cloud.points[joined.cloud.points[:, 0] > 5]
    np.testing.assert_allclose(right.mean(axis=0) - old.cloud.points.mean(axis=0), [10, 0, 0], atol=0.05)


def test_maps_that_have_ended_are_kept_as_long_as_there_is_room():
    builder = MapBuilder(MapConfig(voxel_size=0.05, max_points=2000))
    for map_id in range(MAX_KEPT + 5):
        builder.add(a_reconstruction(map_id + 1, map_id))
    kept = builder.snapshots()[:-1]
    assert sum(len(snapshot.cloud.points) for snapshot in kept) <= 2000
    assert [snapshot.map_id for snapshot in kept] == list(range(MAX_KEPT + 4 - len(kept), MAX_KEPT + 4))


# Submaps


def an_anchor(number, size=(100, 140), shown=None):
    shown = shown or picture(number, size)
    depth = np.random.default_rng(number).uniform(1, 5, size).astype(np.float32)
    frame = Frame(number + 1, "cam", 0, lambda: shown)
    return Anchor(View(number, frame, shown), depth, np.full(size, 2.0, np.float32), INTRINSICS, np.eye(4))


def test_a_stored_views_pixels_look_where_they_did():
    anchor = an_anchor(0)
    stored = StoredView.of(anchor, image_size=140).anchor
    stride = stride_of(anchor.depth)
    assert stride > 1
    rows, columns = (np.arange(n) for n in stored.depth.shape)
    full = np.stack(np.meshgrid(columns * stride + stride // 2, rows * stride + stride // 2), -1) + 0.5
    thin = np.stack(np.meshgrid(columns, rows), -1) + 0.5
    for grid, intrinsics in ((full, anchor.intrinsics), (thin, thinned_intrinsics(anchor.intrinsics, stride))):
        rays = np.concatenate([grid, np.ones((*grid.shape[:2], 1))], -1) @ np.linalg.inv(intrinsics).T
        np.testing.assert_allclose(rays[..., :2], (full - anchor.intrinsics[:2, 2]) / np.diag(anchor.intrinsics)[:2])
    np.testing.assert_array_equal(stored.depth, anchor.depth[stride // 2 :: stride, stride // 2 :: stride])


def test_a_stored_picture_is_as_large_as_the_network_looks_and_its_frame_is_let_go():
    gradient = np.linspace(0, 255, 640).astype(np.uint8)
    shown = Picture(np.tile(gradient[None, :, None], (480, 1, 3)), INTRINSICS)
    stored = StoredView.of(an_anchor(0, shown=shown), image_size=140)
    view = stored.view()
    assert view.picture.image.shape == (105, 140, 3)
    np.testing.assert_allclose(view.picture.intrinsics, np.diag([140 / 640, 105 / 480, 1]) @ INTRINSICS)
    assert abs(view.picture.image[50, 70].astype(int) - 128).max() < 4
    with pytest.raises(InputError, match="no frame to load"):
        view.frame.load()


class PlaceRecognizer:
    """Every place looks like the one ``lap`` submaps before."""

    def __init__(self, lap=30):
        self.lap, self.shown = lap, []

    checkpoint = "abc"

    def describe(self, view, image_size):
        rng = np.random.default_rng(view.number % self.lap)
        return rng.normal(size=(8, 16)).astype(np.float32)

    def predict_apart(self, views, num_steps, image_size):
        self.shown.append([view.number for view in views])
        raise RuntimeError("not in this test")


def walk_past(detector, count, begin=0, step_m=1.0, map_id=0):
    submaps = []
    for number in range(begin, begin + count):
        anchor = replace(an_anchor(number, SIZE), map_from_cam=pose((number * step_m, 0, 0)))
        frame = replace(anchor.view.frame, stamp_ns=(number + 1) * 10**9)
        submaps.append(detector.see([replace(anchor, view=replace(anchor.view, frame=frame))] * 2, map_id, 28))
    return [submap for submap in submaps if submap is not None]


def test_submaps_are_as_far_apart_as_they_should_be():
    detector = LoopDetector(PlaceRecognizer(), config(LoopsConfig, loops_place_distance=0.5))
    submaps = walk_past(detector, 30, step_m=0.25)
    apart = np.diff([submap.map_from_cam[0, 3] for submap in submaps])
    assert (apart >= 0.5 * min(submap.depth for submap in submaps) - 0.25).all()
    assert [submap.number for submap in submaps] == list(range(len(submaps)))
    assert [submap.num_registrations for submap in submaps[1:]] == [round(gap / 0.25) for gap in apart]
    assert submaps[0].num_registrations == 0


def test_places_are_bounded_and_what_is_forgotten_is_told():
    detector = LoopDetector(PlaceRecognizer(), config(LoopsConfig, loops_place_distance=0.1, loops_max_places=25))
    submaps = walk_past(detector, 80)
    assert len(detector) == len(detector._stored) == 25
    forgotten = [number for submap in submaps for number in submap.forgotten]
    assert len(forgotten) == len(set(forgotten)) == 80 - 25
    assert not set(forgotten) & detector._stored.keys()


def test_checks_keep_their_distance_and_are_not_repeated():
    recognizer = PlaceRecognizer()
    detector = LoopDetector(recognizer, RARE)
    walk_past(detector, 45)
    assert detector.is_due
    with pytest.raises(RuntimeError):
        detector.check(2, lambda *_: None)
    first, second = recognizer.shown[0][0], recognizer.shown[0][-1]
    assert second - first == 30
    assert not detector.is_due
    walk_past(detector, 4, begin=45)
    assert detector.is_due
    detector.closed(LoopClosure(first, 48, IDENTITY, 0.01))
    walk_past(detector, 6, begin=49)
    assert not detector.is_due  # places beside a closed loop say nothing new


def checked(detector, recognizer):
    """The two submaps that the network is shown."""
    with pytest.raises(RuntimeError, match="not in this test"):
        detector.check(2, lambda *_: None)
    return recognizer.shown[-1][0], recognizer.shown[-1][-1]


def test_a_lost_robot_looks_for_its_old_map_after_every_window_and_for_others_in_their_turn():
    recognizer = PlaceRecognizer()
    detector = LoopDetector(recognizer, RARE)
    walk_past(detector, 40)
    assert detector.is_due  # two places of one map, in their turn
    first, second = checked(detector, recognizer)
    assert first < second < 40
    walk_past(detector, 1, begin=40, map_id=1)  # carried
    for number in range(41, 44):  # one after every window
        assert detector.is_due
        first, second = checked(detector, recognizer)
        assert first < 40 <= second
        assert not detector.is_due
        walk_past(detector, 1, begin=number, map_id=1)
    assert checked(detector, recognizer)[1] < 40
    detector.closed(LoopClosure(10, 43, IDENTITY, 0.01))  # now both are one
    walk_past(detector, 3, begin=44, map_id=1)
    assert not detector.is_due
    walk_past(detector, 1, begin=47, map_id=2)  # and the next one is another
    assert detector.is_due
    assert checked(detector, recognizer)[1] == 47


def test_a_map_that_has_just_begun_is_sought_in_the_one_before_without_delay():
    """A registration that failed: what would be no return within one map joins two."""
    recognizer = PlaceRecognizer(lap=25)
    detector = LoopDetector(recognizer, config(LoopsConfig, loops_place_distance=0.1, loops_check_every=100))
    walk_past(detector, 24)
    assert not detector.is_due
    recognizer.describe = lambda view, size: PlaceRecognizer.describe(recognizer, replace(view, number=23), size)
    walk_past(detector, 1, begin=24, map_id=1)
    assert detector.is_due
    assert checked(detector, recognizer) == (23, 24)


def test_a_reset_forgets_all_places_and_numbers_go_on():
    detector = LoopDetector(PlaceRecognizer(), config(LoopsConfig, loops_place_distance=0.1))
    walk_past(detector, 45)
    detector.forget()
    assert not detector.is_due
    assert len(detector) == 0
    assert walk_past(detector, 1, begin=45)[0].number == 45


# Time, memory and configuration


@pytest.fixture
def make_budget():
    """Of a machine on which 8 views take 20 ms and 20 ms more for each step."""

    def make(budget_ms):
        budget = BudgetController(Limits(budget_ms, 2, 8, 8, 3, 56))
        for num_steps in (8, 2) * 20:
            budget.observe(8, num_steps, 56, 20.0 + 20.0 * num_steps, 1.0)
        return budget

    return make


def test_a_view_that_cannot_be_described_is_no_place_and_loses_no_frame():
    robot, said = make_robot(0, 3.0), []
    predictor = SimulatedPredictor(robot, NO_NOISE)
    predictor.describe = lambda *_: np.full((8, 48), np.nan, np.float32)
    engine = FrontEnd(predictor, mapper_config(), said.append, loops=LoopDetector(predictor, EAGER))
    for frame in robot.frames():
        engine.admit(frame)
    window = engine.run()
    assert len(window.reconstructions) == WindowConfig().size
    assert window.submap is None
    assert any("cannot be remembered as a place: a descriptor must be" in sentence for sentence in said)


def test_a_check_leaves_the_budget_to_the_next_window(make_budget):
    assert make_budget(0.0).steps_apart(6, 0.0) == 8  # no budget
    assert BudgetController(Limits(1000.0, 2, 8, 8, 3, 56)).steps_apart(6, 0.0) is None  # nothing is known yet
    assert make_budget(1000.0).steps_apart(6, 0.0) == 8
    assert make_budget(1000.0).steps_apart(6, 990.0) is None  # a frame has waited long enough
    assert 2 <= make_budget(200.0).steps_apart(6, 0.0) < 8
    assert make_budget(90.0).steps_apart(6, 0.0) is None  # there is no time for two windows


def test_a_check_leaves_the_streams_features_alone():
    predictor = DvltPredictor(Dvlt.from_pretrained(EMBEDDED_WEIGHTS), "cpu")
    views = [View(i, Frame(i + 1, "cam", 0, lambda: picture(0)), picture(i, (48, 64))) for i in range(2)]
    predictor.predict(views, 2, 56, [0, 1])
    before = predictor.describe(views[0], 56)
    assert before.shape == (8, before.shape[1])
    others = [View(i, views[0].frame, picture(9 + i, (48, 64))) for i in range(2)]  # numbers that the stream has too
    prediction = predictor.predict_apart(others, 2, 56)
    assert len(prediction.depth) == 2
    np.testing.assert_array_equal(predictor.describe(views[0], 56), before)
    with pytest.raises(InputError, match="view 7 at 56 pixels is not in the latest window"):
        predictor.describe(replace(views[0], number=7), 56)


def test_without_gtsam_loops_are_off_unless_they_must_be_closed(monkeypatch):
    predictor = SimulatedPredictor(make_robot(0, 5.0))
    assert prepare_loops(LoopsConfig(), predictor, True).detector is not None
    assert prepare_loops(config(LoopsConfig, loops_mode="never"), predictor, True).detector is None
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "gtsam", None)
    off = prepare_loops(LoopsConfig(), predictor, True)
    assert off.detector is None
    assert off.graph is None
    assert "pip install 'dvlt_ros[loops]'" in off.reason
    with pytest.raises(ConfigError, match=r"pip install 'dvlt_ros\[loops\]'"):
        prepare_loops(config(LoopsConfig, loops_mode="always"), predictor, True)
    library.cache_clear()


def test_a_model_without_features_cannot_close_loops():
    with pytest.raises(ConfigError, match="features recognise places"):
        prepare_loops(config(LoopsConfig, loops_mode="always"), object(), True)


def test_round_and_round_memory_is_bounded():
    """The benchmark in small: laps in one room."""
    rows = []
    endurance.drive(240, has_loops=True, report=rows.append)
    assert rows[-1].loops >= 2
    assert rows[-1].submaps <= rows[-1].places <= 240
    assert rows[-1].points <= endurance.CONFIG.map.max_points


def test_a_place_that_was_forgotten_is_no_loop():
    recognizer = PlaceRecognizer(lap=15)
    detector = LoopDetector(recognizer, config(LoopsConfig, loops_place_distance=0.1, loops_max_places=25))
    walk_past(detector, 40)
    recognizer.lap = 10**6
    walk_past(detector, 200, begin=40)
    found = detector.check(2, lambda *_: None)
    assert isinstance(found, UnverifiedLoop)
    assert "forgotten" in found.reason
