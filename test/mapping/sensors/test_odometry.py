"""Odometry at a stamp: interpolated, extrapolated a little, refused with a reason otherwise."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.sensors.odometry import OdometryConfig, OdometryError, OdometryHistory, interpolate, inverse

MS = 1_000_000
START_NS = 1_000 * MS


def pose(x=0.0, y=0.0, yaw=0.0):
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def driven(time_s, speed=0.8, turn_rate=0.5):
    """On a circle, from the origin."""
    yaw, radius = turn_rate * time_s, speed / turn_rate
    return pose(radius * math.sin(yaw), radius * (1 - math.cos(yaw)), yaw)


def history(until_ms=1000, step_ms=20, **changes):
    """A drive on a circle, a message every 20 ms."""
    filled = OdometryHistory(OdometryConfig(**changes))
    for ms in range(0, until_ms + 1, step_ms):
        assert filled.add(START_NS + ms * MS, driven(ms * 1e-3)) is None
    return filled


def driven_between(filled, first_ms, second_ms):
    """first_from_second (4, 4), of one epoch."""
    first, second = (filled.at(START_NS + ms * MS) for ms in (first_ms, second_ms))
    assert first.epoch == second.epoch
    return inverse(first.odom_from_base) @ second.odom_from_base


@given(st.integers(0, 1_050 * MS))
@settings(max_examples=50, deadline=None)
def test_the_pose_at_a_stamp_is_the_driven_one(offset_ns):
    """Between messages, on them, and 50 ms beyond the latest."""
    found = history().at(START_NS + offset_ns)
    np.testing.assert_allclose(found.odom_from_base, driven(offset_ns * 1e-9), atol=1.5e-3)
    np.testing.assert_allclose(found.odom_from_base[:3, :3].T @ found.odom_from_base[:3, :3], np.eye(3), atol=1e-12)


def test_messages_come_back_as_they_are():
    filled = history()
    np.testing.assert_allclose(filled.at(START_NS + 500 * MS).odom_from_base, driven(0.5), atol=1e-15)


@given(st.floats(-3.1, 3.1), st.floats(-1.0, 2.0))
@settings(deadline=None)
def test_rotations_are_interpolated_along_their_axis(yaw, ratio):
    np.testing.assert_allclose(interpolate(pose(yaw=0.2), pose(1.0, yaw=0.2 + yaw), ratio)[:3, :3],
                               pose(yaw=0.2 + ratio * yaw)[:3, :3], atol=1e-9)  # fmt: skip


def test_what_is_not_known_is_refused_with_its_cause():
    with pytest.raises(OdometryError, match="no odometry has arrived"):
        OdometryHistory().at(START_NS)
    filled = history()
    with pytest.raises(OdometryError, match=r"latest message is 0\.051 s older"):
        filled.at(START_NS + 1_051 * MS)
    with pytest.raises(OdometryError, match=r"oldest message is 0\.100 s newer"):
        filled.at(START_NS - 100 * MS)
    single = OdometryHistory()
    single.add(START_NS, pose())
    np.testing.assert_array_equal(single.at(START_NS).odom_from_base, pose())
    with pytest.raises(OdometryError, match="single message"):
        single.at(START_NS + 10 * MS)
    single.add(START_NS + MS, pose(0.001))
    with pytest.raises(OdometryError, match="so close together"):
        single.at(START_NS + 30 * MS)


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (np.full((4, 4), np.nan), "not finite"),
        (pose(x=math.inf), "not finite"),
        (2 * np.eye(4), "not rigid"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "not rigid"),
        (np.zeros((4, 4)), "not rigid"),
        (np.eye(3), r"must be \(4, 4\)"),
    ],
    ids=["nan", "infinite", "scaled", "mirrored", "zero", "shape"],
)
def test_a_bad_message_is_refused_and_changes_nothing(bad, cause):
    filled = history()
    with pytest.raises(OdometryError, match=cause):
        filled.add(START_NS + 1_010 * MS, bad)
    assert filled.latest_ns == START_NS + 1_000 * MS
    assert filled.add(START_NS + 1_020 * MS, driven(1.02)) is None
    np.testing.assert_allclose(driven_between(filled, 0, 1_020), driven(1.02), atol=1e-9)


def test_stamps_below_zero_and_late_ones_are_refused():
    filled = history()
    with pytest.raises(OdometryError, match=r"stamp is -0\.001 s"):
        filled.add(-MS, pose())
    for behind_ms in (0, 100):
        with pytest.raises(OdometryError, match=rf"stamp is 0\.{behind_ms:03d} s behind"):
            filled.add(START_NS + (1_000 - behind_ms) * MS, driven(1.0))
    assert len(filled) == 51


def test_a_clock_that_goes_back_empties_the_history():
    filled = history(until_ms=2000)
    before = filled.at(START_NS + 1_900 * MS)
    assert "went back by 1.5 s" in filled.add(START_NS + 500 * MS, pose())
    assert filled.add(START_NS + 520 * MS, pose()) is None
    assert filled.at(START_NS + 510 * MS).epoch != before.epoch
    with pytest.raises(OdometryError, match="older"):
        filled.at(START_NS + 1_900 * MS)


def test_nothing_is_interpolated_over_a_pause_but_the_wheels_went_on_counting():
    filled = history(max_gap_s=0.5)
    assert filled.add(START_NS + 1_700 * MS, driven(1.7)) is None
    with pytest.raises(OdometryError, match=r"paused for 0\.70 s"):
        filled.at(START_NS + 1_300 * MS)
    expected = inverse(driven(0.9)) @ driven(1.7)
    np.testing.assert_allclose(driven_between(filled, 900, 1_700), expected, atol=1e-9)
    with pytest.raises(OdometryError, match="single message"):  # no velocity is measured across the pause
        filled.at(START_NS + 1_710 * MS)


def test_after_a_long_silence_odometry_counts_as_started_anew():
    filled = history(max_silence_s=5.0)
    assert "no odometry for 6.0 s" in filled.add(START_NS + 7_000 * MS, driven(1.0))
    assert filled.at(START_NS).epoch != filled.at(START_NS + 7_000 * MS).epoch


@pytest.mark.parametrize(
    ("jump", "said"), [(pose(x=0.5), "jumped by 0.50 m"), (pose(yaw=0.5), "jumped by 29 degrees")], ids=["away", "turn"]
)
def test_a_jump_separates_what_lies_before_from_what_comes_after(jump, said):
    filled = OdometryHistory()
    for ms in range(0, 400, 20):
        filled.add(START_NS + ms * MS, pose())
    assert said in filled.add(START_NS + 400 * MS, jump)
    for ms in range(420, 800, 20):
        assert filled.add(START_NS + ms * MS, jump) is None
    with pytest.raises(OdometryError, match="broke between the messages"):
        filled.at(START_NS + 390 * MS)
    assert filled.at(START_NS).epoch != filled.at(START_NS + 700 * MS).epoch
    for first_ms, second_ms in ((0, 380), (400, 780)):
        np.testing.assert_allclose(driven_between(filled, first_ms, second_ms), np.eye(4), atol=1e-12)


def test_messages_in_a_burst_are_no_jump():
    """20 ms of driving at 1 m/s that arrives with stamps 1 ms apart."""
    filled = OdometryHistory()
    for count in range(10):
        assert filled.add(START_NS + count * MS, pose(0.02 * count)) is None


def test_the_offset_moves_what_is_looked_up():
    ahead = history(time_offset_s=0.2)
    found = ahead.at(START_NS + 300 * MS)
    assert found.stamp_ns == START_NS + 300 * MS
    np.testing.assert_allclose(found.odom_from_base, driven(0.5), atol=1e-9)


def test_the_history_is_bounded():
    filled = OdometryHistory(max_samples=100)
    for count in range(1_000):
        filled.add(START_NS + count * 20 * MS, pose())
        assert len(filled) <= 125
    assert filled.at(START_NS + 910 * 20 * MS).epoch == 0


def test_one_thread_adds_while_another_looks_up():
    filled, failures = history(), []

    def add():
        for ms in range(1_020, 8_000, 20):
            filled.add(START_NS + ms * MS, driven(ms * 1e-3))

    writer = threading.Thread(target=add)
    writer.start()
    while writer.is_alive():
        latest_ns = filled.latest_ns
        found = filled.at(latest_ns - 7 * MS).odom_from_base
        if not np.allclose(found, driven((latest_ns - START_NS) * 1e-9 - 0.007), atol=1e-3):
            failures.append(latest_ns)
    writer.join()
    assert not failures


def test_a_configuration_that_cannot_work_is_refused():
    with pytest.raises(ConfigError, match=r"odometry\.max_gap_s must be at least"):
        OdometryConfig(max_gap_s=-1.0)
    with pytest.raises(ConfigError, match=r"odometry\.max_silence_s must be at least odometry\.max_gap_s 2\.0"):
        OdometryConfig(max_gap_s=2.0, max_silence_s=1.0)
    with pytest.raises(ConfigError, match="max_samples"):
        OdometryHistory(max_samples=1)


@pytest.mark.parametrize("ahead_s", [6, 3600, 10**9, -1, -60, -1000])
@pytest.mark.parametrize("place", [2, 10, 18])
def test_one_odd_stamp_costs_one_message(ahead_s, place):
    history, start_ns = OdometryHistory(), 2000 * 10**9
    stamps = [start_ns + i * 50_000_000 for i in range(20)]
    for i, stamp_ns in enumerate(stamps):
        history.add(stamp_ns + (ahead_s * 10**9 if i == place else 0), shifted(0.01 * i))
    epochs = set()
    for i, stamp_ns in enumerate(stamps):
        found = history.at(stamp_ns)  # the one that is missing is between two others
        np.testing.assert_allclose(found.odom_from_base[0, 3], 0.01 * i, atol=1e-9)
        epochs.add(found.epoch)
    assert len(epochs) == 1


def test_after_an_odd_stamp_a_real_break_has_an_epoch_of_its_own():
    history = OdometryHistory()
    for stamp_s in (100.0, 100.1, 900.0, 100.2, 100.3, 200.0, 200.1):
        history.add(round(stamp_s * 1e9), np.eye(4))
    before, after = history.at(round(100.25e9)).epoch, history.at(round(200.05e9)).epoch
    assert before != after
    history.add(round(50e9), np.eye(4))
    history.add(round(50.1e9), np.eye(4))
    assert history.at(round(50.05e9)).epoch not in (before, after)
    with pytest.raises(OdometryError, match="older than the stamp"):
        history.at(round(200.05e9))


def shifted(x):
    pose = np.eye(4)
    pose[0, 3] = x
    return pose
