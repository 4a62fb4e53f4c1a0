"""map_from_odom: what others see of it never moves much at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from room import INTRINSICS, SIZE, picture, pose

from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.mapping.maps.map_from_odom import MAX_STEP_M, MAX_STEP_RAD, OdomInMap, step_towards
from dvlt_ros.mapping.maps.odometry_comparison import OdometryComparison
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, inverse
from dvlt_ros.model import PixelMapping


def step(before, after, position):
    """How far the change moves a point (3,) of odom, and how far it turns."""
    point = np.array([*position, 1.0])
    turned = np.arccos(np.clip((np.trace(before[:3, :3].T @ after[:3, :3]) - 1) / 2, -1, 1))
    return np.linalg.norm(((after - before) @ point)[:3]), turned


@given(st.integers(0, 10**6), st.floats(0, 300))
@settings(max_examples=30, deadline=None)
def test_steps_are_small_at_the_robot_and_at_the_origin(seed, far):
    rng = np.random.default_rng(seed)
    odom_from_cam, before = pose((far, 0, 0), 1.0), np.eye(4)
    for _ in range(5):
        target = pose(odom_from_cam[:3, 3] + rng.normal(size=3), 1 + 0.1 * rng.normal()) @ inverse(odom_from_cam)
        after = step_towards(before, target, odom_from_cam)
        for position in (np.zeros(3), odom_from_cam[:3, 3], odom_from_cam[:3, 3] / 2):
            moved, turned = step(before, after, position)
            assert moved <= MAX_STEP_M + 1e-9
            assert turned <= MAX_STEP_RAD + 1e-6
        before = after


def test_it_arrives_in_the_end():
    odom_from_cam, current = pose((100.0, 0.0, 20.0), 0.3), np.eye(4)
    target = pose((100.2, 0.1, 20.3), 0.32) @ inverse(odom_from_cam)
    steps = 0
    while not np.allclose(current, target, atol=1e-9):
        current = step_towards(current, target, odom_from_cam)
        steps += 1
        assert steps < 100
    assert steps >= 2.0 / MAX_STEP_M - 1  # 0.02 rad at 100 m are 2 m at the origin


def test_small_steps_are_taken_at_once():
    near = pose((0.01, 0, 0))
    np.testing.assert_array_equal(step_towards(np.eye(4), near, np.eye(4)), near)


def test_a_map_that_begins_anew_forgets_how_far_the_wheels_were_off():
    odom = OdomInMap()
    camera = CameraInOdom(pose((0, 0, 0)), epoch=0)
    odom.follow(pose((5.0, 0, 0)), camera)
    assert odom.disagreement.startswith("odometry and images are 5.0 m apart")
    odom.begin()
    assert odom.disagreement == ""


def test_what_the_wheels_said_of_one_visual_map_does_not_reach_the_next():
    comparison = OdometryComparison(lambda stamp_ns, _: CameraInOdom(pose((stamp_ns * 1e-9, 0, 0)), epoch=0))
    shown, mapping = picture(0), PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))
    seen = [
        Reconstruction(
            number * 10**9,
            "cam",
            0,
            0,
            shown,
            np.ones(SIZE),
            np.ones(SIZE),
            INTRINSICS,
            pose((0.5 * number, 0, 0)),
            mapping,
        )
        for number in range(8)
    ]
    assert comparison.compare(seen, [comparison.camera(reconstruction) for reconstruction in seen])
    assert comparison.finding is not None
    comparison.begin()
    assert comparison.finding is None
