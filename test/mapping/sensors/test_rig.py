"""Two cameras on one body: frame sets stay together, mounts hold, and their distance is the metre."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from configs import mapper_config
from drive import windows_of
from room import FRAME_NS, SIZE, FakePredictor, picture, pose, room_depth, turn, walk

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, inverse
from dvlt_ros.mapping.sensors.rig import Rig, middle, mount_residual_deg
from dvlt_ros.mapping.sensors.rig_config import RigConfig

LATER_NS = 2_000_000  # the right camera's shutter
BASE_FROM_OPTICAL = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def mount(left_m, yaw=0.0):
    optical = BASE_FROM_OPTICAL @ pose((0, 0, 0), yaw)
    optical[:3, 3] = 0.1, left_m, 0.4
    return optical


MOUNTS = {"left_optical": mount(0.15, -0.1), "right_optical": mount(-0.15, 0.1)}  # 0.3 m apart, a little outwards
COUNT = 40


def moment_of(stamp_ns):
    return stamp_ns // FRAME_NS


class TwoCameras(FakePredictor):
    """Right but for a gauge per window, and for noise of each camera's place, in metres."""

    def __init__(self, noise_m=0.0, **options):
        poses = {}
        for number, world_from_left in enumerate(walk(80), start=1):
            world_from_base = world_from_left @ inverse(MOUNTS["left_optical"])
            poses[number * FRAME_NS] = world_from_left
            poses[number * FRAME_NS + LATER_NS] = world_from_base @ MOUNTS["right_optical"]
        super().__init__(poses, **options)
        self.noise_m = noise_m

    def predict(self, views, num_steps, image_size, decoded):
        found = super().predict(views, num_steps, image_size, decoded)
        scale = np.median(found.depth[0] / room_depth(self.poses[views[decoded[0]].frame.stamp_ns]))
        poses = found.window_from_cam.copy()
        poses[:, :3, 3] += self.noise_m * scale * self.rng.normal(size=(len(poses), 3))
        return replace(found, window_from_cam=poses)


def frame(number, camera, shows=None, frame_id=None, late_ns=None):
    late_ns = LATER_NS * (camera == "right") if late_ns is None else late_ns
    stamp_ns = number * FRAME_NS + late_ns
    shown = picture(2 * number + (camera == "right")) if shows is None else shows
    return Frame(stamp_ns, frame_id or f"{camera}_optical", stamp_ns, lambda: shown, camera)


def both(numbers):
    return [frame(number, camera) for number in numbers for camera in ("left", "right")]


def make(predictor=None, mounts=None, **changes):
    said, mounts = [], MOUNTS if mounts is None else mounts

    def look_up(frame_id):
        if frame_id not in mounts:
            raise InputError(f"no transform from '{frame_id}'")
        return mounts[frame_id]

    rig = Rig(("left", "right"), look_up, RigConfig(patience_s=0.35))
    config = mapper_config(**{"confidence_cut_share": 0.0, "window_overlap": 2} | changes)
    clock = itertools.count(0, 10**6).__next__
    return FrontEnd(predictor or TwoCameras(), config, said.append, clock_ns=clock, rig=rig), said


def feed(engine, frames):
    windows = windows_of(engine, frames)
    assert engine.counters.read().in_flight == 0
    return windows


def metric_windows(windows, look_up=None):
    metric = MetricMap(look_up, ScaleConfig())
    placed = [metric.place(window) for window in windows]
    return metric, [window for window in placed if window.is_metric]


def test_moments_stay_together_in_windows_and_overlap():
    predictor = TwoCameras()
    engine, said = make(predictor, window_size=7, window_overlap=3)
    windows = feed(engine, both(range(1, COUNT)))
    stamps = [r.stamp_ns for window in windows for r in window.reconstructions]
    assert stamps == sorted(predictor.poses)[: 2 * (COUNT - 1)]
    assert {(r.camera, r.frame_id) for window in windows for r in window.reconstructions} == {
        ("left", "left_optical"), ("right", "right_optical"),
    }  # fmt: skip
    assert all(len(views) <= 7 and not len(views) % 2 for views in predictor.windows)
    for before, after in itertools.pairwise(predictor.windows):
        assert after[:4] == before[-4:]  # 3 views would be half a frame set
    assert {window.map_id for window in windows} == {0}
    assert said == []


def test_the_newest_moments_win_and_every_frame_is_counted():
    engine, _ = make(window_size=6)
    feed(engine, both(range(1, 5)))
    for shown in both(range(5, 21)):
        engine.admit(shown)
    window = engine.run()
    assert [moment_of(r.stamp_ns) for r in window.reconstructions] == [19, 19, 20, 20]
    engine.admit(frame(21, "left"))
    engine.forget()
    counts = engine.counters.read()
    assert (counts.accepted, counts.dropped) == (41, 29)


def test_metres_from_the_distance_of_the_mounts_alone_and_the_map_is_upright():
    predictor = TwoCameras(noise_m=0.004)
    engine, _ = make(predictor)
    windows = feed(engine, both(range(1, COUNT)))
    metric, placed = metric_windows(windows)
    assert (metric.status.state, metric.status.source) == ("locked", "baseline")
    assert len(placed) > len(windows) / 2
    assert all(window.map_from_odom is None for window in placed)
    first, last = placed[0].window.reconstructions[0], placed[-1].window.reconstructions[-1]
    for window in placed:
        for r in window.window.reconstructions:
            np.testing.assert_allclose(r.depth, room_depth(predictor.poses[r.stamp_ns]), rtol=0.03)
    moved = np.linalg.norm(last.map_from_cam[:3, 3] - first.map_from_cam[:3, 3])
    true = np.linalg.norm(predictor.poses[last.stamp_ns][:3, 3] - predictor.poses[first.stamp_ns][:3, 3])
    assert moved == pytest.approx(true, rel=0.03)
    begun = windows[0].reconstructions[0]  # the map's axes are those of the body, not of the camera
    np.testing.assert_allclose(begun.map_from_cam[:3, :3], MOUNTS["left_optical"][:3, :3], atol=0.02)


def test_the_mounts_hold_the_cameras_together():
    engine, _ = make(TwoCameras(noise_m=0.01))
    windows = feed(engine, both(range(1, COUNT)))
    metric, placed = metric_windows(windows)
    expected = inverse(MOUNTS["left_optical"]) @ MOUNTS["right_optical"]
    for window in placed:
        left, right = window.window.reconstructions[-2:]
        seen = inverse(left.map_from_cam) @ right.map_from_cam
        np.testing.assert_allclose(seen[:3, :3], expected[:3, :3], atol=1e-6)
        np.testing.assert_allclose(seen[:3, 3] / np.linalg.norm(seen[:3, 3]), expected[:3, 3] / 0.3, atol=1e-6)
    assert metric.status.residual < 0.2
    assert 0 < windows[-1].rig.residual_deg < 5


@pytest.mark.parametrize(("dead", "alive"), [("right", "left"), ("left", "right")])
def test_a_camera_that_dies_is_left_out_until_it_comes_back(dead, alive):
    engine, said = make()
    alone = [frame(number, alive) for number in range(11, 24)]
    windows = feed(engine, [*both(range(1, 11)), *alone, *both(range(24, 34))])
    found = [(moment_of(r.stamp_ns), r.camera) for window in windows for r in window.reconstructions]
    assert found[-18:] == [(n, camera) for n in range(25, 34) for camera in ("left", "right")]
    assert {(n, alive) for n in range(15, 25)} <= set(found)
    assert {window.map_id for window in windows} == {0}
    assert [sentence for sentence in said if "cameras" in sentence] == [
        f"cameras: silent: {dead}; the others go on", "cameras: all are here again",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [mount(-0.15, 0.3), BASE_FROM_OPTICAL @ pose((0.15, -0.4, 0.3), 0.1)],
    ids=["turned by 11 degrees", "elsewhere"],
)
def test_a_wrong_mount_is_named_and_neither_bends_the_map_nor_locks(wrong):
    predictor = TwoCameras()
    engine, _ = make(predictor, mounts=MOUNTS | {"right_optical": wrong})
    windows = feed(engine, both(range(1, COUNT)))
    metric, placed = metric_windows(windows)
    assert placed == []
    assert metric.status.state != "locked"
    assert "'left' and 'right' are seen" in metric.status.reason
    assert windows[-1].rig.residual_deg > 9
    left, right = windows[-1].reconstructions[-2:]
    seen, true = (inverse(a) @ b for a, b in (
        (left.map_from_cam, right.map_from_cam), (predictor.poses[left.stamp_ns], predictor.poses[right.stamp_ns]),
    ))  # fmt: skip
    np.testing.assert_allclose(seen[:3, :3], true[:3, :3], atol=1e-3)


def test_a_mount_that_is_knocked_while_driving_shows_and_the_lock_says_so():
    predictor = TwoCameras()
    engine, _ = make(predictor)
    for stamp_ns in sorted(predictor.poses):
        if stamp_ns % FRAME_NS and moment_of(stamp_ns) > 30:
            predictor.poses[stamp_ns] = predictor.poses[stamp_ns] @ pose((0, 0, 0), 0.2)
    windows = feed(engine, both(range(1, 70)))
    metric, placed = metric_windows(windows)
    assert placed
    assert windows[7].rig.residual_deg < 1 < 5 < windows[-1].rig.residual_deg
    assert metric.status.state == "locked"
    assert "'left' and 'right' are seen" in metric.status.reason


def test_cameras_that_are_not_synchronised_say_so_and_are_counted():
    engine, said = make()
    frames = [frame(n, camera, late_ns=30_000_000 * (camera == "right"))
              for n in range(1, 31) for camera in ("left", "right")]  # fmt: skip
    assert feed(engine, frames) == []
    assert len(said) == 1
    assert "not synchronised: their frames are 0.030 s apart or more, cameras.tolerance_s is 0.01" in said[0]
    engine.forget()
    counts = engine.counters.read()
    assert counts.accepted == counts.dropped == 60


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shows": picture(7, (48, 64))}, "it is 64 x 48, those of 'left' are 32 x 24"),
        ({"shows": Picture(picture(7).image, None)}, "need a camera_info"),
        ({"shows": Picture(np.full((*SIZE, 3), 9, np.uint8), picture(7).intrinsics)}, "covered"),
        ({"frame_id": "left_optical"}, "have the same frame_id 'left_optical'"),
        ({"frame_id": "unmounted"}, "no transform from 'unmounted'"),
    ],
    ids=["other size", "no camera_info", "covered", "same frame", "no mount"],
)
def test_a_camera_that_cannot_be_used_leaves_the_others_alone(changes, reason):
    engine, said = make()
    windows = feed(engine, [f for n in range(1, 13) for f in (frame(n, "left"), frame(n, "right", **changes))])
    assert [r.camera for window in windows for r in window.reconstructions] == ["left"] * 12
    assert {window.map_id for window in windows} == {0}
    assert len(said) == 12
    assert all(reason in sentence and "of 'right' refused" in sentence for sentence in said)
    assert engine.counters.read().refused == 12


def test_a_moment_is_a_keyframe_if_one_camera_sees_something_new():
    engine, _ = make(keyframes_heartbeat_s=60.0)
    still = picture(0)
    frames = [f for n in range(1, 9) for f in (frame(n, "left", shows=still), frame(n, "right"))]
    assert len([r for w in feed(engine, frames) for r in w.reconstructions]) == 16
    engine, _ = make(keyframes_heartbeat_s=60.0)
    frames = [frame(n, camera, shows=still) for n in range(1, 9) for camera in ("left", "right")]
    assert len([r for w in feed(engine, frames) for r in w.reconstructions]) == 2
    assert engine.counters.read().passed_over == 14


def test_odometry_and_baseline_are_combined_and_standing_still_is_no_motion():
    predictor = TwoCameras()

    def wheels(stamp_ns, frame_id):
        return CameraInOdom(predictor.poses[stamp_ns], 0)

    engine, _ = make(predictor)
    metric, placed = metric_windows(feed(engine, both(range(1, COUNT))), wheels)
    assert (metric.status.state, set(metric.status.source.split("+"))) == ("locked", {"odometry", "baseline"})
    for r in placed[-1].window.reconstructions:
        np.testing.assert_allclose(r.map_from_cam, predictor.poses[r.stamp_ns], atol=0.01)
    still = {LATER_NS: predictor.poses[FRAME_NS + LATER_NS], 0: predictor.poses[FRAME_NS]}
    predictor.poses = {stamp_ns: still[stamp_ns % FRAME_NS] for stamp_ns in predictor.poses}
    engine, _ = make(predictor)
    metric, _ = metric_windows(feed(engine, both(range(1, COUNT))), wheels)
    assert metric.status.source == "baseline"
    assert "odometry: standing still" in metric.status.reason


def test_another_visual_map_is_another_map_without_odometry():
    engine, _ = make()
    windows = feed(engine, both(range(1, COUNT)))
    engine.begin_anew()
    windows += feed(engine, both(range(COUNT, 79)))
    _, placed = metric_windows(windows)
    ids = [window.window.map_id for window in placed]
    assert ids == sorted(ids)
    assert set(ids) == {0, 1}
    assert len([window for window in placed if window.map_from_visual is not None]) == 2


def test_frames_of_a_clock_that_jumps_back_begin_another_map():
    engine, said = make()
    windows = feed(engine, [*both(range(30, 50)), *both(range(1, 21))])
    assert {window.map_id for window in windows} == {0, 1}
    assert any("stamps went back" in sentence for sentence in said)
    assert windows[-1].reconstructions[-1].stamp_ns == 20 * FRAME_NS + LATER_NS


def test_a_window_too_small_for_two_moments_is_refused():
    with pytest.raises(ConfigError, match=r"window\.size must be at least 4"):
        make(window_size=3)
    with pytest.raises(ConfigError, match="two cameras or more"):
        Rig(("left",), MOUNTS.__getitem__)


def test_out_of_memory_never_leaves_less_than_two_moments():
    predictor = TwoCameras(largest_window=5)
    engine, said = make(predictor)
    windows = feed(engine, both(range(1, COUNT)))
    assert any("out of memory" in sentence for sentence in said)
    assert {len(views) for views in predictor.windows} == {4}
    assert windows[-1].reconstructions[-1].stamp_ns == (COUNT - 1) * FRAME_NS + LATER_NS
    assert windows[-1].registration.state == "joined"


def test_of_three_cameras_one_may_be_wrong():
    truth = pose((1, 2, 3), 0.4)
    far = pose((4, 2, 3), 1.4)
    np.testing.assert_allclose(middle(np.stack([truth, truth, far])), truth, atol=0.02)
    np.testing.assert_allclose(middle(np.stack([truth, far]))[:3, 3], (2.5, 2, 3), atol=1e-9)


@pytest.mark.parametrize("wrong_deg", [0.0, 3.0, 20.0])
def test_the_residual_of_a_mount_is_its_angle_whatever_the_noise(wrong_deg):
    rng = np.random.default_rng(0)
    mounted = pose((0.3, 0, 0), 0.5)
    turned, aside = mounted.copy(), mounted.copy()
    turned[:3, :3] = turned[:3, :3] @ turn(np.radians(wrong_deg))
    aside[:3, 3] = turn(np.radians(wrong_deg)) @ aside[:3, 3]
    for wrong in (turned, aside):
        seen = np.tile(wrong, (30, 1, 1))
        seen[:, :3, 3] = (seen[:, :3, 3] + 0.01 * rng.normal(size=(30, 3))) * rng.uniform(0.5, 2, (30, 1))
        assert mount_residual_deg(seen, mounted) == pytest.approx(wrong_deg, abs=1.0)
    assert torch.isfinite(torch.tensor(mount_residual_deg(np.tile(mounted, (5, 1, 1)), mounted)))
