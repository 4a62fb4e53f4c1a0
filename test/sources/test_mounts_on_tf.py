"""A camera's mount that was recorded as a transform that moves: it holds if it never changes, else the gap is named."""

from __future__ import annotations

from typing import Any

import bags
import numpy as np
import pytest

from dvlt_ros.errors import DataError
from dvlt_ros.sources.odometry import open_odometry

COUNT, STEP_NS, MAX_GAP_NS = 41, 50_000_000, 500_000_000
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # axes on a base that looks along x
T = bags.STORE.types


def transform(stamp_ns: int, xyz: tuple[float, float, float] = (0.2, 0.0, 0.5), parent: str = "base_link") -> Any:
    turn, shift = T["geometry_msgs/msg/Quaternion"](*OPTICAL), T["geometry_msgs/msg/Vector3"](*xyz)
    found = T["geometry_msgs/msg/Transform"](shift, turn)
    stamped = T["geometry_msgs/msg/TransformStamped"](bags.header(stamp_ns, parent), "cam", found)
    return T["tf2_msgs/msg/TFMessage"]([stamped])


def odometry(stamp_ns: int, x: float) -> Any:
    pose = T["geometry_msgs/msg/Pose"](
        T["geometry_msgs/msg/Point"](x, 0.0, 0.0), T["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    )
    zero = T["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    twist = T["geometry_msgs/msg/TwistWithCovariance"](T["geometry_msgs/msg/Twist"](zero, zero), np.zeros(36))
    with_covariance = T["geometry_msgs/msg/PoseWithCovariance"](pose, np.zeros(36))
    return T["nav_msgs/msg/Odometry"](bags.header(stamp_ns, "odom"), "base_link", with_covariance, twist)


def stamp(index: int) -> int:
    return 10**9 + index * STEP_NS


def mounts_of(tmp_path, mounts, topic="/tf", move=lambda _: (0.2, 0.0, 0.5)):
    """base_from_cam at every image, or why there is none, of a bag with the mount at these indices."""
    records = []
    for index in range(COUNT):
        if index in mounts:
            records.append((topic, transform(stamp(index), move(index))))
        records.append(("/odom", odometry(stamp(index), 0.02 * index)))
        records.append(("/cam/image_raw", bags.image(stamp(index), np.zeros((4, 6, 3), np.uint8))))
    recorded = open_odometry(bags.write(tmp_path / "bag", records), "auto", "odom", "cam")
    found: list[Any] = []
    for index in range(COUNT):
        try:
            found.append(recorded.base_from_cam("cam", stamp(index), MAX_GAP_NS))
        except DataError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("topic", ["/tf", "/tf_static"])
@pytest.mark.parametrize(
    "mounts", [range(COUNT), (0, 20, 40), (0,), (20,), (40,), (3, 4)],
    ids=["every time", "once a second", "before all", "in the middle", "at the end", "twice at the start"],
)  # fmt: skip
def test_a_mount_that_never_changes_holds_at_every_time(tmp_path, mounts, topic):
    found = mounts_of(tmp_path, mounts, topic)
    for pose in found:
        np.testing.assert_allclose(pose[:3, 3], [0.2, 0.0, 0.5])
        np.testing.assert_allclose(pose[:3, 2], [1, 0, 0], atol=1e-9)  # it looks along x


def test_one_that_moves_is_between_its_neighbours(tmp_path):
    found = mounts_of(tmp_path, range(0, COUNT, 4), move=lambda index: (0.2, 0.01 * index, 0.5))
    np.testing.assert_allclose([pose[1, 3] for pose in found], 0.01 * np.arange(COUNT), atol=1e-9)


@pytest.mark.parametrize("mounts", [(0, 40), (0, 20, 40), (10, 30)])
def test_the_gap_of_one_that_moves_is_named(tmp_path, mounts):
    found = mounts_of(tmp_path, mounts, move=lambda index: (0.2, 0.01 * index, 0.5))
    assert isinstance(found[mounts[0]], np.ndarray)
    gap_s = (mounts[1] - mounts[0]) * STEP_NS * 1e-9
    assert found[mounts[0] + 1].startswith("transform base_link -> cam: no pose at ")
    assert f"a gap of {gap_s:.3f} s between poses" in found[mounts[0] + 1]
