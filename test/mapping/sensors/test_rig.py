"""Two cameras on one body: frame sets, mounts, and the scale by their baseline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from room import FRAME_NS, picture, room_depth
from two_cameras import COUNT, LATER_NS, MOUNTS, TwoCameras, both, feed, frame, frame_set_of, make, metric_windows

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, inverse
from dvlt_ros.mapping.sensors.rig import Rig


def test_moments_stay_together_in_windows_and_overlap():
    predictor = TwoCameras()
    front_end, said = make(predictor, window_size=7, window_overlap=3)
    windows = feed(front_end, both(range(1, COUNT)))
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
    front_end, _ = make(window_size=6)
    feed(front_end, both(range(1, 5)))
    for shown in both(range(5, 21)):
        front_end.admit(shown)
    window = front_end.run()
    assert [frame_set_of(r.stamp_ns) for r in window.reconstructions] == [19, 19, 20, 20]
    front_end.admit(frame(21, "left"))
    front_end.forget()
    counts = front_end.counters.read()
    assert (counts.accepted, counts.dropped) == (41, 29)


def test_metres_from_the_distance_of_the_mounts_alone_and_the_map_is_upright():
    predictor = TwoCameras(noise_m=0.004)
    front_end, _ = make(predictor)
    windows = feed(front_end, both(range(1, COUNT)))
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
    front_end, _ = make(TwoCameras(noise_m=0.01))
    windows = feed(front_end, both(range(1, COUNT)))
    metric, placed = metric_windows(windows)
    expected = inverse(MOUNTS["left_optical"]) @ MOUNTS["right_optical"]
    for window in placed:
        left, right = window.window.reconstructions[-2:]
        seen = inverse(left.map_from_cam) @ right.map_from_cam
        np.testing.assert_allclose(seen[:3, :3], expected[:3, :3], atol=1e-6)
        np.testing.assert_allclose(seen[:3, 3] / np.linalg.norm(seen[:3, 3]), expected[:3, 3] / 0.3, atol=1e-6)
    assert metric.status.residual < 0.2
    assert 0 < windows[-1].rig.residual_deg < 5


def test_a_moment_is_a_keyframe_if_one_camera_sees_something_new():
    front_end, _ = make(keyframes_heartbeat_s=60.0)
    still = picture(0)
    frames = [f for n in range(1, 9) for f in (frame(n, "left", shows=still), frame(n, "right"))]
    assert len([r for w in feed(front_end, frames) for r in w.reconstructions]) == 16
    front_end, _ = make(keyframes_heartbeat_s=60.0)
    frames = [frame(n, camera, shows=still) for n in range(1, 9) for camera in ("left", "right")]
    assert len([r for w in feed(front_end, frames) for r in w.reconstructions]) == 2
    assert front_end.counters.read().passed_over == 14


def test_odometry_and_baseline_are_combined_and_standing_still_is_no_motion():
    predictor = TwoCameras()

    def look_up(stamp_ns, frame_id):
        return CameraInOdom(predictor.poses[stamp_ns], 0)

    front_end, _ = make(predictor)
    metric, placed = metric_windows(feed(front_end, both(range(1, COUNT))), look_up)
    assert (metric.status.state, set(metric.status.source.split("+"))) == ("locked", {"odometry", "baseline"})
    for r in placed[-1].window.reconstructions:
        np.testing.assert_allclose(r.map_from_cam, predictor.poses[r.stamp_ns], atol=0.01)
    still = {LATER_NS: predictor.poses[FRAME_NS + LATER_NS], 0: predictor.poses[FRAME_NS]}
    predictor.poses = {stamp_ns: still[stamp_ns % FRAME_NS] for stamp_ns in predictor.poses}
    front_end, _ = make(predictor)
    metric, _ = metric_windows(feed(front_end, both(range(1, COUNT))), look_up)
    assert metric.status.source == "baseline"
    assert "odometry: standing still" in metric.status.reason


def test_another_visual_map_is_another_map_without_odometry():
    front_end, _ = make()
    windows = feed(front_end, both(range(1, COUNT)))
    front_end.begin_anew()
    windows += feed(front_end, both(range(COUNT, 79)))
    _, placed = metric_windows(windows)
    ids = [window.window.map_id for window in placed]
    assert ids == sorted(ids)
    assert set(ids) == {0, 1}
    assert len([window for window in placed if window.map_from_visual is not None]) == 2


def test_a_window_too_small_for_two_moments_is_refused():
    with pytest.raises(ConfigError, match=r"window\.size must be at least 4"):
        make(window_size=3)
    with pytest.raises(ConfigError, match="two cameras or more"):
        Rig(("left",), MOUNTS.__getitem__)
