"""Poses over time and frames in a tree: right between the samples, refused where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvlt_ros.errors import DataError
from dvlt_ros.sources.poses import PoseTrack, pose_from_quaternion, slerp
from dvlt_ros.sources.transforms import Transform, TransformTree

SECOND = 10**9
IDENTITY = (0.0, 0.0, 0.0, 1.0)


def about_z(angle: float) -> np.ndarray:
    return np.array([0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])


def track(*rows: tuple[int, float, float]) -> PoseTrack:
    """Of (stamp, x, yaw)."""
    stamps, xs, yaws = zip(*rows, strict=True)
    return PoseTrack.from_samples(stamps, [(x, 0, 0) for x in xs], [about_z(yaw) for yaw in yaws], "track")


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 1))
def test_slerp_turns_evenly_the_short_way(start, turn, share):
    found = slerp(about_z(start), -about_z(start + turn), share)  # q and -q are one rotation
    assert abs(found @ about_z(start + share * turn)) == pytest.approx(1, abs=1e-9)


def test_a_pose_between_two_samples():
    pose = track((0, 1.0, 0.0), (SECOND, 3.0, 1.0)).at(SECOND // 4, SECOND)
    np.testing.assert_allclose(pose[:3, 3], [1.5, 0, 0])
    np.testing.assert_allclose(pose, pose_from_quaternion([1.5, 0, 0], about_z(0.25)), atol=1e-12)


def test_samples_may_come_in_any_order_and_twice():
    poses = track((2 * SECOND, 3.0, 0.0), (0, 1.0, 0.0), (2 * SECOND, 5.0, 0.0))
    np.testing.assert_allclose(poses.at(SECOND, 2 * SECOND)[0, 3], 3.0)


@pytest.mark.parametrize(
    ("stamp", "message"), [(-1, "the poses end"), (SECOND + 1, "the poses end"), (SECOND // 2, "a gap of 1.000 s")]
)
def test_no_pose_outside_or_in_a_gap(stamp, message):
    poses = track((0, 1.0, 0.0), (SECOND, 3.0, 1.0))
    with pytest.raises(DataError, match=message):
        poses.at(stamp, SECOND // 2)
    np.testing.assert_allclose(poses.at(SECOND, 0)[0, 3], 3.0)  # an exact stamp needs no neighbour


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (np.nan, 0, 0, 1)])
def test_what_is_not_a_rotation_is_refused(quaternion):
    with pytest.raises(DataError, match="not a rotation"):
        pose_from_quaternion((0, 0, 0), quaternion)
    with pytest.raises(DataError, match="all 1 poses are NaN or not rotations"):
        PoseTrack.from_samples([0], [(0, 0, 0)], [quaternion], "track")


def tree(*edges: tuple[str, str, float]) -> TransformTree:
    """Static edges (parent, child, x)."""
    transforms = TransformTree()
    for parent, child, x in edges:
        transforms.add(Transform(parent, child, 0, (x, 0.0, 0.0), IDENTITY), static=True)
    return transforms


def test_look_up_over_a_common_frame_needs_nothing_above_it():
    transforms = tree(("base", "left", 1.0), ("base", "right", -1.0), ("right", "tip", 0.5))
    transforms.add(Transform("odom", "base", 5 * SECOND, (0.0, 0.0, 0.0), IDENTITY), static=False)
    np.testing.assert_allclose(transforms.look_up("left", "tip", 0, 0)[0, 3], -1.5)
    np.testing.assert_allclose(transforms.look_up("tip", "left", 0, 0)[0, 3], 1.5)
    assert not transforms.moves("left", "tip")
    assert transforms.moves("odom", "tip")
    with pytest.raises(DataError, match=r"transform odom -> base: no pose at 0\.000 s"):
        transforms.look_up("odom", "tip", 0, 0)


def test_unknown_and_unconnected_frames_are_never_identity():
    transforms = tree(("base", "camera", 1.0), ("map", "goal", 1.0))
    for target in ("goal", "nowhere"):
        with pytest.raises(DataError, match=f"no transform connects '{target}' and 'camera'; frames known"):
            transforms.look_up(target, "camera", 0, 0)


def test_circles_and_empty_static_transforms():
    with pytest.raises(DataError, match="go in a circle"):
        tree(("a", "b", 1.0), ("b", "a", 1.0)).root("a")
    transforms = TransformTree()
    transforms.add(Transform("base", "camera", 0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)), static=True)
    with pytest.raises(DataError, match="transform base -> camera: the pose is NaN or not a rotation"):
        transforms.look_up("base", "camera", 0, 0)
