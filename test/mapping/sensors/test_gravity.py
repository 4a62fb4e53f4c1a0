"""Up from accelerations and turn rates, and maps that begin level by it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, pose

from dvlt_ros.health import Level, worst
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.sensors.gravity import (
    STANDARD_GRAVITY,
    Gravity,
    GravityConfig,
    GravityError,
    UpFilter,
    level_from_cam,
    turned,
)
from dvlt_ros.mapping.submaps.placement import MAP_FROM_OPTICAL

STEP_NS, STEP_S = 5_000_000, 0.005  # 200 Hz
UP_WORLD = np.array([0.0, -1.0, 0.0])  # of the room: y is down


def shake(world_from_imu, rng, own=0.0):
    """What an accelerometer says at rest, with the noise of motors and the robot's own acceleration (3,)."""
    return world_from_imu.T @ (STANDARD_GRAVITY * UP_WORLD + own) + rng.normal(scale=1.0, size=3)


def degrees(first, second):
    return np.degrees(np.arccos(np.clip(first @ second, -1, 1)))


def test_up_is_found_through_noise_bumps_and_turns():
    rng, up, world_from_imu = np.random.default_rng(0), UpFilter(2.0), turned(np.array([0.4, 0.1, -0.3]))
    rate, worst = np.array([0.3, -0.2, 0.9]), 0.0
    for step in range(1, 2001):  # 10 s, in which it turns by 9 rad
        world_from_imu = world_from_imu @ turned(rate * STEP_S)
        own = 2.0 * np.sin(6.0 * step * STEP_S) * np.array([1.0, 0, 0])
        up.add(step * STEP_NS, shake(world_from_imu, rng, own), rate + rng.normal(scale=0.02, size=3))
        if step > 400:
            worst = max(worst, degrees(up.at(step * STEP_NS), world_from_imu.T @ UP_WORLD))
    assert worst < 2.0


def test_without_gyros_up_is_right_at_rest():
    rng, up, world_from_imu = np.random.default_rng(0), UpFilter(2.0), turned(np.array([0.4, 0.1, -0.3]))
    for step in range(1, 401):
        up.add(step * STEP_NS, shake(world_from_imu, rng), None)
    assert degrees(up.at(400 * STEP_NS), world_from_imu.T @ UP_WORLD) < 1.5


def rest(up, seconds, size=STANDARD_GRAVITY, begin_ns=STEP_NS):
    """Messages of an IMU that lies still; returns the last one's stamp."""
    for step in range(round(seconds / STEP_S)):
        up.add(begin_ns + step * STEP_NS, np.array([0, 0, size]), np.zeros(3))
    return begin_ns + step * STEP_NS


def test_up_is_unknown_until_enough_was_heard_far_from_messages_and_after_a_pause():
    up = UpFilter(2.0)
    with pytest.raises(GravityError, match="no imu message has arrived"):
        up.at(1)
    last_ns = rest(up, 0.3)
    with pytest.raises(GravityError, match=r"heard for 0\.\d+ s of 0\.5 s"):
        up.at(last_ns)
    last_ns = rest(up, 0.5, begin_ns=last_ns + STEP_NS)
    np.testing.assert_allclose(up.at(last_ns + 50_000_000), [0, 0, 1])
    with pytest.raises(GravityError, match=r"nearest imu message is 0\.200 s older than the image"):
        up.at(last_ns + 200_000_000)
    with pytest.raises(GravityError, match="newer than the image"):
        up.at(last_ns - 2_000_000_000)
    late_ns = rest(up, 0.1, begin_ns=last_ns + 10**9)
    with pytest.raises(GravityError, match="heard for"):
        up.at(late_ns)
    again_ns = rest(up, 0.7, begin_ns=STEP_NS)  # another run of the clock
    np.testing.assert_allclose(up.at(again_ns), [0, 0, 1])


def test_what_cannot_be_gravity_is_refused_by_name():
    up, still = UpFilter(2.0), np.zeros(3)
    with pytest.raises(GravityError, match="stamp is zero"):
        up.add(0, np.ones(3), still)
    with pytest.raises(GravityError, match="not finite"):
        up.add(1, np.array([0, 0, np.nan]), still)
    with pytest.raises(GravityError, match="not finite"):
        up.add(1, np.ones(3), np.array([np.inf, 0, 0]))
    with pytest.raises(GravityError, match="acceleration is zero"):
        up.add(1, still, still)
    last_ns = rest(up, 1.0, size=1.0)
    with pytest.raises(GravityError, match=r"mean acceleration is 1\.00 m/s²"):
        up.at(last_ns)


def test_a_message_that_is_late_or_comes_twice_changes_nothing():
    up = UpFilter(2.0)
    last_ns = rest(up, 1.0)
    up.add(last_ns, np.array([5.0, 0, 0]), np.zeros(3))
    up.add(last_ns - 10_000_000, np.array([5.0, 0, 0]), np.zeros(3))
    np.testing.assert_allclose(up.at(last_ns), [0, 0, 1])


@pytest.mark.parametrize("pitch", [-1.57, -0.6, 0.0, 0.6, 1.57])
@pytest.mark.parametrize("roll", [0.0, 0.5, 3.0])
def test_level_axes_are_z_up_and_look_where_the_camera_looks(pitch, roll):
    world_from_cam = pose((0, 0, 0), 0.0, pitch)[:3, :3] @ turned(np.array([0, 0, roll]))
    up_cam = world_from_cam.T @ UP_WORLD
    level = level_from_cam(up_cam)
    np.testing.assert_allclose(level @ level.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(level) == pytest.approx(1)
    np.testing.assert_allclose(level @ up_cam, [0, 0, 1], atol=1e-12)
    looks = level @ [0, 0, 1.0]
    assert looks[1] == pytest.approx(0, abs=0.05)
    assert looks[0] > 0 or abs(pitch) > 1.5


def test_a_level_camera_begins_a_map_as_it_would_without_gravity():
    np.testing.assert_allclose(level_from_cam(UP_WORLD), MAP_FROM_OPTICAL)
    for up_cam in ([0, 0, -1.0], [0, 0, 1.0]):  # straight down, straight up: the image's top, or bottom, is ahead
        ahead = level_from_cam(np.array(up_cam)) @ [0, up_cam[2], 0]
        np.testing.assert_allclose(ahead, [1, 0, 0], atol=1e-12)


# In the front end ---------------------------------------------------------------------------------------------------


@pytest.fixture
def make_front_end(make_predictor):
    """Front ends with gravity from a function, a walk with its true poses, and what the front end complains of."""

    def make(look_up, **options):
        complaints, predictor = [], make_predictor()
        gravity = Gravity("imu", look_up, GravityConfig(**options))
        clock = itertools.count(0, 10**6).__next__
        config = mapper_config(confidence_cut_share=0.0)
        return FrontEnd(predictor, config, complaints.append, clock, gravity=gravity), predictor.poses, complaints

    return make


def drive(front_end, make_frame, numbers):
    windows = []
    for number in numbers:
        front_end.admit(make_frame(number))
        if (window := front_end.run()) is not None:
            windows.append(window)
    return windows


def true_level(poses):
    return lambda stamp_ns, _: level_from_cam(poses[stamp_ns][:3, :3].T @ UP_WORLD)


def tilt_deg(window, poses):
    """Between the map's z and the true up, as the camera of the latest frame has them."""
    r = window.reconstructions[-1]
    return degrees(r.map_from_cam[:3, :3].T @ [0, 0, 1], poses[r.stamp_ns][:3, :3].T @ UP_WORLD)


def test_a_map_begins_level_though_the_camera_is_not(make_front_end, make_frame, make_predictor):
    poses = make_predictor().poses
    front_end, _, _ = make_front_end(true_level(poses))
    windows = drive(front_end, make_frame, range(3, 20))  # frame 3 is pitched
    assert front_end.gravity.state == "imu"
    assert front_end.gravity.problem == ""
    assert {window.map_id for window in windows} == {0}
    assert max(tilt_deg(window, poses) for window in windows) < 0.1
    plain = FrontEnd(
        make_predictor(), mapper_config(confidence_cut_share=0.0), clock_ns=itertools.count(0, 10**6).__next__
    )
    assert tilt_deg(drive(plain, make_frame, range(3, 20))[0], poses) > 0.5


def test_a_new_map_waits_for_gravity_and_every_frame_is_accounted_for(make_front_end, make_frame, make_predictor):
    poses = make_predictor().poses
    level = true_level(poses)

    def look_up(stamp_ns, frame_id):
        if stamp_ns < 10 * FRAME_NS:
            raise GravityError("no imu message has arrived")
        return level(stamp_ns, frame_id)

    front_end, _, complaints = make_front_end(look_up, patience_s=2.0)
    waiting = drive(front_end, make_frame, range(1, 10))
    assert waiting
    assert not any(window.reconstructions for window in waiting)
    assert "gravity is known: no imu message has arrived" in worst(front_end.health().values()).text
    assert any("no imu message has arrived" in complaint for complaint in complaints)
    assert front_end.gravity.state == ""
    begun = [window for window in drive(front_end, make_frame, range(10, 20)) if window.reconstructions]
    assert begun
    assert worst(front_end.health().values()).level == Level.OK
    assert max(tilt_deg(window, poses) for window in begun) < 0.1
    counts = front_end.counters.read()
    assert counts.accepted == 19
    assert counts.dropped + sum(len(window.reconstructions) for window in begun) == 19


def test_when_gravity_never_comes_the_map_begins_as_the_camera_stands_and_says_so(make_front_end, make_frame):
    def look_up(stamp_ns, frame_id):
        raise GravityError("no imu message has arrived")

    front_end, _, _ = make_front_end(look_up, patience_s=0.5)
    windows = [window for window in drive(front_end, make_frame, range(1, 20)) if window.reconstructions]
    assert windows
    first = windows[0].reconstructions[0]
    assert first.stamp_ns >= 5 * FRAME_NS
    assert {window.map_id for window in windows} == {0}
    assert (front_end.gravity.state, front_end.gravity.problem) == ("", "no imu message has arrived")


def test_a_running_map_is_never_tilted(make_front_end, make_frame, make_predictor):
    poses = make_predictor().poses
    level, calls = true_level(poses), []

    def look_up(stamp_ns, frame_id):
        calls.append(stamp_ns)
        return turned(np.array([0.1 * len(calls), 0, 0])) @ level(stamp_ns, frame_id)

    front_end, _, _ = make_front_end(look_up)
    windows = drive(front_end, make_frame, range(1, 20))
    assert len(calls) == 1  # it is asked for when a map begins
    assert max(tilt_deg(window, poses) for window in windows) - min(tilt_deg(w, poses) for w in windows) < 0.1
    front_end.begin_anew()
    again = drive(front_end, make_frame, range(20, 30))
    assert len(calls) == 2
    assert {window.map_id for window in again} == {1}


def test_patience_begins_anew_with_every_map():
    def look_up(stamp_ns, frame_id):
        raise GravityError("nothing")

    gravity = Gravity("mount", look_up, GravityConfig(patience_s=1.0))

    def frame(second):
        return Frame(1, "cam", received_ns=round(second * 10**9), load=lambda: None)

    for begin in (5, 100):
        with pytest.raises(GravityError):
            gravity.map_from_cam(frame(begin), np.eye(3))
        assert gravity.map_from_cam(frame(begin + 1.1), np.eye(3)) is not None
