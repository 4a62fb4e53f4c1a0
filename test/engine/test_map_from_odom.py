"""map_from_odom: what others see of it never moves much at once, but for loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from room import pose

from dvlt_ros.engine.map_from_odom import MapFromOdom, SmoothingConfig
from dvlt_ros.errors import ConfigError


def step(before, after, position):
    """How far the change moves a point (3,) of odom, and how far it turns."""
    point = np.array([*position, 1.0])
    turned = np.arccos(np.clip((np.trace(before[:3, :3].T @ after[:3, :3]) - 1) / 2, -1, 1))
    return np.linalg.norm(((after - before) @ point)[:3]), np.degrees(turned)


@given(st.integers(0, 10**6), st.floats(0, 300))
@settings(max_examples=30, deadline=None)
def test_steps_are_small_at_the_robot_and_at_the_origin(seed, far):
    rng = np.random.default_rng(seed)
    live = MapFromOdom()
    odom_from_base = pose((far, 0, 0), 1.0)
    before = live.update(odom_from_base, odom_from_base)
    for _ in range(5):
        map_from_base = pose(odom_from_base[:3, 3] + rng.normal(size=3), 1 + 0.1 * rng.normal())
        after = live.update(map_from_base, odom_from_base)
        for position in (np.zeros(3), odom_from_base[:3, 3], odom_from_base[:3, 3] / 2):
            moved, turned = step(before, after, position)
            assert moved <= 0.05
            assert turned <= 0.5
        before = after


def test_it_arrives_in_the_end():
    live = MapFromOdom()
    odom_from_base = pose((100.0, 0.0, 20.0), 0.3)
    live.update(odom_from_base, odom_from_base)
    map_from_base = pose((100.2, 0.1, 20.3), 0.32)
    steps = 0
    while not np.allclose(live.update(map_from_base, odom_from_base) @ odom_from_base, map_from_base, atol=1e-9):
        steps += 1
        assert steps < 100
    assert steps >= 2.0 / 0.045 - 1  # 0.02 rad at 100 m are 2 m at the origin


def test_small_steps_are_taken_at_once_and_loops_jump():
    live = MapFromOdom()
    live.update(np.eye(4), np.eye(4))
    near, far = pose((0.01, 0, 0)), pose((5.0, 1, 0), 0.5)
    np.testing.assert_array_equal(live.update(near, np.eye(4)), near)
    assert np.linalg.norm(live.update(far, np.eye(4))[:3, 3]) < 0.06
    np.testing.assert_array_equal(live.update(far, np.eye(4), jump=True), far)


def test_another_map_begins_where_it_is():
    live = MapFromOdom()
    live.update(np.eye(4), np.eye(4))
    live.restart()
    np.testing.assert_array_equal(live.update(pose((9.0, 0, 0)), np.eye(4)), pose((9.0, 0, 0)))


def test_a_limit_of_zero_would_never_arrive():
    with pytest.raises(ConfigError, match="max_step_m"):
        SmoothingConfig(max_step_m=0.0)
