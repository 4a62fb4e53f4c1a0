"""Frames over time: the look-ups of a Buffer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

import tf2_ros
from rclpy.duration import Duration
from rclpy.time import Time
from tf_messages import LATEST, about, matrix, message


def random_message(rng, parent, child, stamp_ns=0):
    rotation = rng.normal(size=4)
    return message(parent, child, stamp_ns, rng.normal(size=3) * 10, rotation / np.linalg.norm(rotation))


@pytest.fixture
def buffer():
    return tf2_ros.Buffer()


@given(seed=st.integers(0, 2**32 - 1))
def test_chain_through_a_common_ancestor(seed):
    rng, buffer = np.random.default_rng(seed), tf2_ros.Buffer()
    edges = [
        random_message(rng, *frames)
        for frames in (("map", "odom"), ("odom", "base"), ("map", "mount"), ("mount", "camera"))
    ]
    for edge in edges:
        buffer.set_transform_static(edge, "test")
    map_from_base = matrix(edges[0]) @ matrix(edges[1])
    map_from_camera = matrix(edges[2]) @ matrix(edges[3])
    found = buffer.lookup_transform("camera", "base", LATEST)
    np.testing.assert_allclose(matrix(found), np.linalg.inv(map_from_camera) @ map_from_base, atol=1e-9)
    assert (found.header.frame_id, found.child_frame_id) == ("camera", "base")
    back = buffer.lookup_transform("base", "camera", LATEST)
    np.testing.assert_allclose(matrix(back) @ matrix(found), np.eye(4), atol=1e-9)


@given(ratio=st.floats(0, 1), angle=st.floats(-3.1, 3.1), sign=st.sampled_from([-1, 1]))
def test_interpolates_along_the_shorter_arc(ratio, angle, sign):
    buffer, start, end = tf2_ros.Buffer(), np.array([1.0, 2.0, 3.0]), np.array([-1.0, 5.0, 3.5])
    buffer.set_transform(message("map", "base", 10**9, start), "test")
    buffer.set_transform(message("map", "base", 2 * 10**9, end, sign * np.array(about((1, 2, 3), angle))), "test")
    stamp_ns = 10**9 + round(ratio * 10**9)
    exact = (stamp_ns - 10**9) / 10**9
    expected = message("map", "base", 0, (1 - exact) * start + exact * end, about((1, 2, 3), exact * angle))
    found = buffer.lookup_transform("map", "base", Time(nanoseconds=stamp_ns))
    np.testing.assert_allclose(matrix(found), matrix(expected), atol=1e-7)
    assert Time.from_msg(found.header.stamp).nanoseconds == stamp_ns


def test_latest_is_the_newest_stamp_that_all_moving_frames_have(buffer):
    for stamp_ns in (1, 2, 3):
        buffer.set_transform(message("map", "odom", stamp_ns * 10**9, (stamp_ns, 0, 0)), "test")
    buffer.set_transform(message("odom", "base", 2 * 10**9, (0, 1, 0)), "test")
    buffer.set_transform_static(message("base", "camera", 9 * 10**9), "test")
    found = buffer.lookup_transform("map", "camera", LATEST)
    assert Time.from_msg(found.header.stamp).nanoseconds == 2 * 10**9
    np.testing.assert_allclose(matrix(found)[:3, 3], [2, 1, 0])


def test_only_frames_between_the_two_matter(buffer):
    buffer.set_transform(message("map", "odom", 10**9), "test")
    buffer.set_transform(message("odom", "base", 5 * 10**9, (1, 0, 0)), "test")
    buffer.set_transform(message("odom", "base", 6 * 10**9, (2, 0, 0)), "test")
    assert matrix(buffer.lookup_transform("odom", "base", LATEST))[0, 3] == 2


@pytest.mark.parametrize(("stamp_s", "word"), [(1.5, "past"), (4.5, "future")])
def test_outside_the_data_is_an_extrapolation(buffer, stamp_s, word):
    for second in (2, 3, 4):
        buffer.set_transform(message("map", "base", second * 10**9), "test")
    with pytest.raises(
        tf2_ros.ExtrapolationException, match=f"extrapolation into the {word}.*Requested time {stamp_s}"
    ):
        buffer.lookup_transform("map", "base", Time(nanoseconds=int(stamp_s * 10**9)))


def test_one_sample_holds_at_its_stamp_only(buffer):
    buffer.set_transform(message("map", "base", 10**9), "test")
    buffer.lookup_transform("map", "base", Time(nanoseconds=10**9))
    with pytest.raises(tf2_ros.ExtrapolationException, match=r"only time 1\.0+ is in the buffer.*\[base\].*\[map\]"):
        buffer.lookup_transform("map", "base", Time(nanoseconds=10**9 + 1))


def test_what_is_older_than_the_cache_time_goes(buffer):
    """When the next transform comes: it is the time of those that are there that counts."""
    short = tf2_ros.Buffer(cache_time=Duration(seconds=2))
    for second in range(1, 6):
        short.set_transform(message("map", "base", second * 10**9), "test")
    short.lookup_transform("map", "base", Time(nanoseconds=2 * 10**9))
    with pytest.raises(tf2_ros.ExtrapolationException):
        short.lookup_transform("map", "base", Time(nanoseconds=2 * 10**9 - 1))


def test_unknown_unconnected_and_invalid_frames(buffer):
    buffer.set_transform_static(message("map", "base"), "test")
    buffer.set_transform_static(message("other", "camera"), "test")
    with pytest.raises(tf2_ros.LookupException, match=r'"nowhere".*source_frame does not exist'):
        buffer.lookup_transform("map", "nowhere", LATEST)
    with pytest.raises(tf2_ros.ConnectivityException, match=r"'map' and 'camera'.*not part of the same tree"):
        buffer.lookup_transform("map", "camera", LATEST)
    for invalid in ("", "/map"):
        with pytest.raises(tf2_ros.InvalidArgumentException, match="target_frame"):
            buffer.lookup_transform(invalid, "base", LATEST)
    assert issubclass(tf2_ros.LookupException, tf2_ros.TransformException)
    assert buffer.can_transform("map", "base", LATEST) is True
    possible, reason = buffer.can_transform("map", "nowhere", LATEST, return_debug_tuple=True)
    assert not possible
    assert "nowhere" in reason


@pytest.mark.parametrize(
    "bad",
    [
        message("base", "base"), message("", "base"), message("map", ""),
        message("map", "base", translation=(np.nan, 0, 0)), message("map", "base", rotation=(0, 0, 0, 0)),
        message("map", "base", rotation=(0, np.nan, 0, 1)),
    ],
)  # fmt: skip
def test_nonsense_is_refused(buffer, bad):
    buffer.set_transform(bad, "test")
    assert not buffer.can_transform("map", "base", LATEST)


@pytest.mark.parametrize("length", [0.9, 0.5, 3.0, 1e-3])
def test_a_quaternion_of_any_length_is_normalised(buffer, length):
    rotation = np.array(about((1, 2, 3), 0.7))
    buffer.set_transform(message("map", "base", 10**9, (1, 2, 3), length * rotation), "test")
    found = buffer.lookup_transform("map", "base", LATEST)
    np.testing.assert_allclose(matrix(found), matrix(message("", "", 0, (1, 2, 3), rotation)), atol=1e-9)


def x_at(buffer, stamp_ns):
    return matrix(buffer.lookup_transform("map", "base", Time(nanoseconds=stamp_ns)))[0, 3]


def test_of_a_repeated_stamp_the_newest_counts(buffer):
    """At the latest time, in the middle and between; only at the earliest time the first one stays."""
    for stamp_s, x in ((1, 1), (1, 10), (2, 2), (2, 20), (3, 3), (3, 30)):
        buffer.set_transform(message("map", "base", stamp_s * 10**9, (x, 0, 0)), "test")
    assert [x_at(buffer, stamp_s * 10**9) for stamp_s in (1, 2, 3)] == [1, 20, 30]
    assert x_at(buffer, 0) == 30
    assert x_at(buffer, int(1.5 * 10**9)) == pytest.approx((10 + 2) / 2)
    assert x_at(buffer, int(2.5 * 10**9)) == pytest.approx((20 + 3) / 2)


def test_a_repeated_stamp_alone(buffer):
    for x in (1, 2, 3):
        buffer.set_transform(message("map", "base", 10**9, (x, 0, 0)), "test")
    assert x_at(buffer, 10**9) == 3


def test_a_frame_that_turns_static_or_moving_begins_anew(buffer):
    buffer.set_transform(message("map", "base", 10**9, (1, 0, 0)), "test")
    buffer.set_transform_static(message("map", "base", 0, (2, 0, 0)), "test")
    assert x_at(buffer, 10**9) == x_at(buffer, 77 * 10**9) == 2
    buffer.set_transform(message("map", "base", 5 * 10**9, (5, 0, 0)), "test")
    assert x_at(buffer, 0) == 5
    with pytest.raises(tf2_ros.ExtrapolationException):
        x_at(buffer, 10**9)


@pytest.mark.parametrize("frame", ["map", "base", "never heard of", ""])
@pytest.mark.parametrize("stamp_ns", [0, 7])
def test_a_frame_from_itself_is_the_identity_known_or_not(buffer, frame, stamp_ns):
    buffer.set_transform(message("map", "base", 10**9, (1, 0, 0)), "test")
    found = buffer.lookup_transform(frame, frame, Time(nanoseconds=stamp_ns))
    np.testing.assert_array_equal(matrix(found), np.eye(4))
    expected = stamp_ns or (10**9 if frame == "base" else 0)
    assert Time.from_msg(found.header.stamp).nanoseconds == expected
    assert buffer.can_transform(frame, frame, LATEST)


def test_a_message_can_be_the_time(buffer):
    for second in (1, 2, 3):
        buffer.set_transform(message("map", "base", second * 10**9, (second, 0, 0)), "test")
    found = buffer.lookup_transform("map", "base", Time(nanoseconds=2 * 10**9).to_msg())
    assert matrix(found)[0, 3] == 2
    assert buffer.can_transform("map", "base", Time(nanoseconds=25 * 10**8).to_msg())
    assert not buffer.can_transform("map", "base", Time(nanoseconds=4 * 10**9).to_msg())


def test_too_old_is_judged_by_what_was_there_before(buffer):
    """A jump forward leaves the sample before it until the next one comes."""
    short = tf2_ros.Buffer(cache_time=Duration(seconds=2))
    for second in (1, 100):
        short.set_transform(message("map", "base", second * 10**9, (second, 0, 0)), "test")
    assert x_at(short, 10**9) == 1
    short.set_transform(message("map", "base", 101 * 10**9, (101, 0, 0)), "test")
    with pytest.raises(tf2_ros.ExtrapolationException):
        x_at(short, 10**9)
    short.set_transform(message("map", "base", 98 * 10**9, (98, 0, 0)), "test")  # too old
    with pytest.raises(tf2_ros.ExtrapolationException):
        x_at(short, 98 * 10**9)


def test_forgotten_frames(buffer):
    buffer.set_transform(message("map", "base", 10**9), "test")
    buffer.clear()
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("map", "base", Time(nanoseconds=10**9))
    with pytest.raises(tf2_ros.ConnectivityException):
        buffer.lookup_transform("map", "base", LATEST)


def test_one_leading_slash_is_taken_off(buffer):
    buffer.set_transform_static(message("/map", "/base", 0, (4, 0, 0)), "test")
    assert x_at(buffer, 0) == 4


def test_clear_forgets_what_moves(buffer):
    buffer.set_transform(message("map", "odom", 10**9), "test")
    buffer.set_transform_static(message("base", "camera"), "test")
    buffer.clear()
    assert not buffer.can_transform("map", "odom", LATEST)
    assert buffer.can_transform("base", "camera", LATEST)


def test_full_lookup_goes_through_the_fixed_frame(buffer):
    for second in (1, 2):
        buffer.set_transform(message("map", "base", second * 10**9, (second, 0, 0)), "test")
    times = Time(nanoseconds=2 * 10**9), Time(nanoseconds=10**9)
    moved = buffer.lookup_transform_full("base", times[0], "base", times[1], "map")
    np.testing.assert_allclose(matrix(moved)[:3, 3], [-1, 0, 0])


def test_the_tree_as_yaml(buffer):
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with ROS 2 and with `make venv`")
    assert not yaml.safe_load(buffer.all_frames_as_yaml())
    buffer.set_transform_static(message("base", "camera"), "me")
    buffer.set_transform(message("odom", "base", 1), "me")
    buffer.set_transform(message("elsewhere", "base", 2), "me")
    tree = yaml.safe_load(buffer.all_frames_as_yaml())
    assert {child: entry["parent"] for child, entry in tree.items()} == {"camera": "base", "base": "elsewhere"}
