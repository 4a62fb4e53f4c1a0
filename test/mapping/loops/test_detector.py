"""Which windows become submaps, and which pairs of them are checked, when."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from configs import config, mapper_config
from room import SIZE, picture, pose
from simulation.network import SimulatedPredictor
from simulation.robot import make_robot
from submap_samples import EAGER, NO_NOISE, an_anchor

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.budget.config import WindowConfig
from dvlt_ros.mapping.budget.controller import BudgetController
from dvlt_ros.mapping.budget.limits import Limits
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.loop_closer import prepare_loops
from dvlt_ros.mapping.loops.config import LoopsConfig
from dvlt_ros.mapping.loops.detector import LoopDetector
from dvlt_ros.mapping.loops.verification import UnverifiedLoop
from dvlt_ros.mapping.pose_graph.config import LoopClosure
from dvlt_ros.mapping.pose_graph.factors import library
from dvlt_ros.model import Dvlt
from dvlt_ros.refinement import MotionDeviation

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'gtsam>=4.3,<5'` runs this")

RARE = config(LoopsConfig, loops_place_distance=0.1, loops_check_every=4, loops_rest=10)


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


def walk_past(detector, count, begin=0, step_m=1.0, map_id=0, motions=None):
    submaps = []
    for number in range(begin, begin + count):
        anchor = replace(an_anchor(number, SIZE), map_from_cam=pose((number * step_m, 0, 0)))
        frame = replace(anchor.view.frame, stamp_ns=(number + 1) * 10**9)
        views = [replace(anchor, view=replace(anchor.view, frame=frame))] * 2
        submaps.append(detector.see(views, map_id, 28, (motions or {}).get(number)))
    return [submap for submap in submaps if submap is not None]


def test_submaps_are_as_far_apart_as_they_should_be():
    detector = LoopDetector(PlaceRecognizer(), config(LoopsConfig, loops_place_distance=0.5))
    submaps = walk_past(detector, 30, step_m=0.25)
    apart = np.diff([submap.map_from_cam[0, 3] for submap in submaps])
    assert (apart >= 0.5 * min(submap.depth for submap in submaps) - 0.25).all()
    assert [submap.number for submap in submaps] == list(range(len(submaps)))
    assert [submap.num_registrations for submap in submaps[1:]] == [round(gap / 0.25) for gap in apart]
    assert submaps[0].num_registrations == 0


def test_a_submap_has_the_deviations_of_all_windows_since_the_one_before_that_were_refined():
    motions = {number: MotionDeviation(turn=number * 1e-3, shift=0.01) for number in range(30) if number % 3}
    detector = LoopDetector(PlaceRecognizer(), config(LoopsConfig, loops_place_distance=0.5))
    submaps = walk_past(detector, 30, step_m=0.25, motions=motions)
    numbers = [submap.stamp_ns // 10**9 - 1 for submap in submaps]
    for submap, (before, number) in zip(submaps[1:], pairwise(numbers), strict=True):
        assert submap.motions == tuple(motions[n] for n in range(before + 1, number + 1) if n in motions)
        assert submap.num_registrations == number - before
    elsewhere = walk_past(detector, 1, begin=30, map_id=1, motions={30: motions[1]})
    assert (elsewhere[0].num_registrations, elsewhere[0].motions) == (0, ())


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
    front_end = FrontEnd(predictor, mapper_config(), said.append, loops=LoopDetector(predictor, EAGER))
    for frame in robot.frames():
        front_end.admit(frame)
    window = front_end.run()
    assert len(window.reconstructions) == WindowConfig().size
    assert window.submap is None
    assert any("cannot become a submap: a descriptor must be" in sentence for sentence in said)


def test_submaps_have_what_the_networks_windows_tell():
    robot, told = make_robot(0, 6.0), MotionDeviation(turn=0.1, shift=0.2)
    predictor = SimulatedPredictor(robot, NO_NOISE)
    predict = predictor.predict
    predictor.predict = lambda *window: replace(predict(*window), motion=told)
    front_end = FrontEnd(predictor, mapper_config(), loops=LoopDetector(predictor, EAGER))
    submaps = []
    for frame in robot.frames():
        front_end.admit(frame)
        if front_end.is_full():
            submaps.append(front_end.run().submap)
    joined = [submap for submap in submaps if submap is not None and submap.num_registrations]
    assert joined
    assert all(submap.motions == (told,) * submap.num_registrations for submap in joined)


def test_a_check_leaves_the_budget_to_the_next_window(make_budget):
    def num_steps(budget, waited_ms=0.0):
        plan = budget.plan_apart(6, waited_ms)
        return None if plan is None else plan.num_steps

    assert num_steps(make_budget(0.0)) == 8  # no budget
    assert num_steps(BudgetController(Limits(1000.0, 2, 8, 8, 3, 56))) is None  # nothing is known yet
    assert num_steps(make_budget(1000.0)) == 8
    assert num_steps(make_budget(1000.0), 990.0) is None  # a frame has waited long enough
    assert 2 <= num_steps(make_budget(200.0)) < 8
    assert num_steps(make_budget(90.0)) is None  # there is no time for two windows


def test_the_refinement_of_a_check_comes_before_steps_and_is_left_out_before_the_check_is(make_budget):
    plain, refined, cut = (make_budget(200.0).plan_apart(6, 0.0, lambda _, ms=ms: ms) for ms in (0.0, 20.0, 500.0))
    assert refined.num_steps < plain.num_steps == cut.num_steps
    assert refined.limit_ms == plain.limit_ms == cut.limit_ms < 200
    assert make_budget(0.0).plan_apart(6, 0.0, lambda _: 500.0).limit_ms == np.inf


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
    assert "pip install 'gtsam>=4.3,<5'" in off.reason
    with pytest.raises(ConfigError, match=r"pip install 'gtsam>=4\.3,<5'"):
        prepare_loops(config(LoopsConfig, loops_mode="always"), predictor, True)
    library.cache_clear()


def test_a_model_without_features_cannot_close_loops():
    with pytest.raises(ConfigError, match="features recognize places"):
        prepare_loops(config(LoopsConfig, loops_mode="always"), object(), True)


def test_a_place_that_was_forgotten_is_no_loop():
    recognizer = PlaceRecognizer(lap=15)
    detector = LoopDetector(recognizer, config(LoopsConfig, loops_place_distance=0.1, loops_max_places=25))
    walk_past(detector, 40)
    recognizer.lap = 10**6
    walk_past(detector, 200, begin=40)
    found = detector.check(2, lambda *_: None)
    assert isinstance(found, UnverifiedLoop)
    assert "forgotten" in found.reason
