"""Keyframes of all windows are adjusted together, and the map that was published before follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from configs import mapper_config
from textured_room import INTRINSICS, MAP_SCALE, MAP_SIZE, SIZE, frames, network, pose_errors, walk

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.mapping import loop_closer
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.inference.prediction import WindowPrediction
from dvlt_ros.mapping.loop_closer import FEWEST, SOLVING, LoopCloser, LoopParts
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.pose_graph.keyframes import MAX_KEYFRAMES
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors
from dvlt_ros.model import PixelMapping
from dvlt_ros.offline.frame_log import FrameLog

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")

POSES = walk(44, step=0.05, turn=0.01)
MAPPING = PixelMapping(SIZE, MAP_SIZE, MAP_SCALE, (0.0, 0.0))
OPTIONS = {
    "keyframes_min_change": 0.0, "confidence_cut_share": 0.0, "registration_max_residual": 1.0, "window_size": 5,
    "window_overlap": 2, "refinement_mode": "tracks",
}  # fmt: skip


class BentDepth:
    """Its depth grows to one side by a fifth, so that the unit of what is new differs from that of what is known."""

    device, min_steps, max_steps, has_fixed_steps, image_size = torch.device("cpu"), 2, 4, False, 84
    cut_share, checkpoint = 0.1, "abc"

    def reset(self):
        pass

    def predict(self, views, num_steps, image_size, decoded):
        answer = network(POSES[[view.frame.stamp_ns - 1 for view in views]], turn=0.02, shift=0.03, bend=0.2)
        some = np.asarray(decoded)
        return WindowPrediction(
            answer.depth[some], answer.confidence[some], answer.window_from_cam[some], answer.intrinsics[some], MAPPING
        )

    def predict_apart(self, views, num_steps, image_size):
        return self.predict(views, num_steps, image_size, range(len(views)))

    def describe(self, view, image_size):
        return np.zeros((8, 4), np.float32)


@pytest.fixture(scope="module")
def images():
    return [Picture(shown.image, INTRINSICS) for shown in frames(POSES)]


def mapped(images, sensors=None, **options):
    mapper = Mapper(mapper_config(**OPTIONS | options), BentDepth(), sensors)
    log, updates = FrameLog(), []
    for i, picture in enumerate(images):
        updates.append(mapper.add(Frame(i + 1, "cam", i, lambda p=picture: p)))
    for update in [update for update in (*updates, *mapper.finish()) if update is not None]:
        log.apply(update)
        for frame in update.frames:
            log.add(frame, update.window.submap_id, update.is_placed)
    return mapper, log.frames


def test_earlier_frames_follow(images):
    """These images leave nothing to gain: how drift is taken back is shown where the pose graph is tested."""
    _, alone = mapped(images, loops_mode="never")
    mapper, together = mapped(images, loops_mode="always")
    assert int(mapper.status.values["keyframe_adjustments"]) >= 1
    assert any(frame.has_moved for frame in together)
    assert {frame.map_id for frame in together} == {0}
    path = np.stack([frame.map_from_cam for frame in together])
    np.testing.assert_allclose(mapper.snapshot().map_from_cam, path, atol=1e-6)
    before, after = (pose_errors(np.stack([f.map_from_cam for f in found]), POSES)[1] for found in (alone, together))
    assert after < 0.02
    assert after < 1.5 * before


def test_with_odometry_its_frame_moves_in_small_steps_and_lengths_are_metres(images):
    odometry = Sensors(odometry=lambda stamp_ns, _: CameraInOdom(POSES[stamp_ns - 1], 0))
    mapper, found = mapped(images, odometry, loops_mode="always")
    assert mapper.status.values["scale_state"] == "locked"
    assert int(mapper.status.values["keyframe_adjustments"]) >= 1
    path = np.stack([frame.map_from_cam[:3, 3] for frame in found])
    assert (
        np.linalg.norm(np.diff(path, axis=0), axis=1).max()
        < 2 * np.linalg.norm(np.diff(POSES, axis=0), axis=(1, 2)).max()
    )
    length, true = (np.linalg.norm(p[-1] - p[0]) for p in (path, POSES[:, :3, 3]))
    assert length == pytest.approx(true, rel=0.02)


def test_without_known_intrinsics_places_alone_are_submaps_and_nothing_is_adjusted(images):
    mapper, _ = mapped([Picture(shown.image, None) for shown in images[:12]], loops_mode="always")
    assert mapper.status.values["keyframe_adjustments"] == "0"
    assert len(mapper.loops.graph) == int(mapper.status.values["places"])


class Keyframes:
    """A map whose adjustment takes a millisecond for each pair of keyframes, and one for each of `SOLVING`."""

    is_placed, localizer = True, None

    def __init__(self, chain):
        self.chain, self.asked, self.now_s, self.num_adjusted, self.dropped = chain, [], 0.0, 0, ()
        self.slow = 1.0

    def adjust(self, least, most):
        self.asked.append(most)
        self.num_adjusted = min(self.chain, most) if self.chain > 1 else 0
        self.now_s += self.slow * 1e-3 * (self.num_adjusted**2 + SOLVING) if self.num_adjusted else 1e-5


@pytest.fixture
def make_closer(monkeypatch):
    def make(chain):
        placed = Keyframes(chain)
        monkeypatch.setattr(loop_closer.time, "perf_counter", lambda: placed.now_s)
        return LoopCloser(None, placed, LoopParts(graph=placed)), placed

    return make


def test_as_many_keyframes_are_adjusted_as_there_is_time_for(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    closer.adjust()
    for _ in range(20):
        closer.adjust(limit_ms=500.0)
    assert placed.asked[0] == MAX_KEYFRAMES
    assert placed.asked[-1] == 20  # 400 pairs at a millisecond each are left beside the solution
    closer.adjust(limit_ms=50.0)
    assert len(placed.asked) == 21  # not even three have time


def test_after_a_slow_run_there_are_fewer_and_then_as_many_again(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    for slow in (1.0,) * 20 + (8.0,) + (1.0,) * 20:
        placed.slow = slow
        closer.adjust(limit_ms=1000.0)
    usual, after, later = placed.asked[20], placed.asked[21], placed.asked[-1]
    assert FEWEST <= after < usual
    assert later >= usual - 1


def test_what_once_took_long_and_what_was_thought_too_long_are_tried_again(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    placed.slow = 0.01
    while not placed.asked:
        closer.adjust(limit_ms=5.0)  # a tenth of what the fewest are thought to take
    placed.slow, num_before = 4.0, len(placed.asked)
    closer.adjust(limit_ms=500.0)
    placed.slow = 0.01
    for _ in range(400):
        closer.adjust(limit_ms=30.0)
    assert len(placed.asked) > num_before + 200


def test_after_many_busy_windows_the_fewest_come_first(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    for limit_ms in [0.0, -5.0] * 100 + [10.0] * 200:
        closer.adjust(limit_ms=limit_ms)
    closer.adjust(limit_ms=30.0)
    assert set(placed.asked) == {FEWEST}
    assert len(placed.asked) < 5
    closer.adjust()
    assert placed.asked[-1] == MAX_KEYFRAMES


def test_a_map_that_is_not_placed_is_not_adjusted(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    placed.is_placed, placed.dropped = False, (RejectedLoop(LoopClosure(0, 11, IDENTITY, 0.1), "old"),)
    assert closer.adjust() is None
    assert (placed.asked, closer.status.refused) == ([], 0)


def test_one_slow_run_is_believed_so_that_the_next_does_not_last_as_long(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    placed.slow, taken_ms = 3.0, []
    for _ in range(4):
        begin_s = placed.now_s
        closer.adjust(limit_ms=500.0)
        taken_ms.append(1e3 * (placed.now_s - begin_s))
    assert max(taken_ms[1:]) <= 500.0


def test_loops_that_an_adjustment_contradicts_are_counted_and_said(make_closer):
    closer, placed = make_closer(MAX_KEYFRAMES)
    loop = LoopClosure(0, 11, IDENTITY, 0.1)
    placed.dropped = (RejectedLoop(loop, "the rest contradicts it now"),)
    closer.adjust()
    assert (closer.status.refused, closer.status.refusal) == (1, "the rest contradicts it now")


def test_a_broken_chain_says_nothing_of_the_time(make_closer):
    closer, placed = make_closer(1)
    for _ in range(20):
        closer.adjust(limit_ms=500.0)
    assert set(placed.asked) == {placed.asked[0]}
