"""Clouds to arrays and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

TYPES = {
    PointField.INT8: "i1", PointField.UINT8: "u1", PointField.INT16: "i2", PointField.UINT16: "u2",
    PointField.INT32: "i4", PointField.UINT32: "u4", PointField.FLOAT32: "f4", PointField.FLOAT64: "f8",
}  # fmt: skip


@st.composite
def clouds(draw):
    """Fields of any types with gaps between them, and points that fit."""
    fields, offset = [], 0
    for index, datatype in enumerate(draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=5))):
        offset += draw(st.integers(0, 3))
        fields.append(PointField(name=f"f{index}", offset=offset, datatype=datatype, count=1))
        offset += np.dtype(TYPES[datatype]).itemsize
    point_step = offset + draw(st.integers(0, 4))
    points = np.zeros(draw(st.integers(0, 20)), point_cloud2.dtype_from_fields(fields, point_step))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for name in points.dtype.names:
        points[name] = rng.integers(0, 100, len(points))
    return fields, point_step, points


@given(cloud=clouds(), big_endian=st.booleans())
def test_there_and_back(cloud, big_endian):
    fields, point_step, points = cloud
    message = point_cloud2.create_cloud(Header(frame_id="camera"), fields, points, point_step)
    assert (message.width, message.height) == (len(points), 1)
    assert (message.point_step, message.row_step) == (point_step, point_step * len(points))
    assert not message.is_dense
    if big_endian:
        swapped = PointCloud2(
            fields=fields,
            width=len(points),
            height=1,
            point_step=point_step,
            row_step=message.row_step,
            is_bigendian=True,
        )
        swapped.data.frombytes(points.byteswap().view(np.uint8))
        message = swapped
    found = point_cloud2.read_points(message)
    for name in points.dtype.names:
        np.testing.assert_array_equal(found[name], points[name])


def test_xyz_and_skipped_nans():
    points = np.array([[1, 2, 3], [np.nan, 0, 0], [4, 5, 6]], np.float32)
    message = point_cloud2.create_cloud_xyz32(Header(), points)
    assert [field.name for field in message.fields] == ["x", "y", "z"]
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(message), points)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(message, skip_nans=True), points[[0, 2]])
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(message, ["y", "z"], uvs=[2]), [[5, 6]])
    message.is_dense = True
    assert len(point_cloud2.read_points(message, skip_nans=True)) == 3


def test_lists_of_points_and_repeated_fields():
    fields = [
        PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
        PointField(name="rgb", offset=4, datatype=PointField.UINT8, count=3),
    ]
    found = point_cloud2.read_points(point_cloud2.create_cloud(Header(), fields, [(0.5, 1, 2, 3), (1.5, 4, 5, 6)]))
    assert found.dtype.names == ("x", "rgb_0", "rgb_1", "rgb_2")
    assert found["rgb_2"].tolist() == [3, 6]


def test_organised_clouds():
    grid = np.arange(24, dtype=np.float32).reshape(4, 2, 3)  # width, height, xyz: the real package's order
    message = point_cloud2.create_cloud_xyz32(Header(), grid)
    assert (message.width, message.height, message.row_step) == (4, 2, 48)
    found = point_cloud2.read_points_numpy(message, reshape_organized_cloud=True)
    np.testing.assert_array_equal(found, grid)


def test_mismatches_are_refused():
    message = point_cloud2.create_cloud_xyz32(Header(), np.zeros((2, 3), np.float32))
    with pytest.raises(AssertionError, match="field"):
        point_cloud2.read_points(message, ["intensity"])
    mixed = [
        PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
        PointField(name="i", offset=4, datatype=PointField.UINT8, count=1),
    ]
    with pytest.raises(AssertionError, match="same datatype"):
        point_cloud2.create_cloud(Header(), mixed, np.zeros((2, 2), np.float32))
    with pytest.raises(AssertionError, match="same datatype"):
        point_cloud2.read_points_numpy(point_cloud2.create_cloud(Header(), mixed, [(1.0, 2)]))
    with pytest.raises(AssertionError, match="Duplicate"):
        point_cloud2.dtype_from_fields([mixed[0], mixed[0]])
