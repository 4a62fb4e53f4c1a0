"""PointCloud2 messages to NumPy arrays and back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

Array = NDArray[Any]
DUMMY_FIELD_PREFIX = "unnamed_field"
_DATATYPES: dict[int, np.dtype[Any]] = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def read_points(
    cloud: PointCloud2, field_names: Iterable[str] | None = None, skip_nans: bool = False,
    uvs: Iterable[int] | None = None, reshape_organized_cloud: bool = False,
) -> Array:  # fmt: skip
    """Structured (N,); shares the message's memory where nothing has to change. NaNs are looked for unless is_dense."""
    assert isinstance(cloud, PointCloud2), "Cloud is not a sensor_msgs.msg.PointCloud2"
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    points: Array = np.ndarray((cloud.width * cloud.height,), dtype, buffer=cloud.data)
    if field_names is not None:
        names = list(field_names)
        assert set(names) <= set(dtype.names or ()), "Requests field is not in the fields of the PointCloud!"
        points = points[names]
    if cloud.is_bigendian != (sys.byteorder == "big"):
        points = points.byteswap()
    if skip_nans and not cloud.is_dense:
        points = points[~np.any([np.isnan(points[name]) for name in points.dtype.names or ()], axis=0)]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: PointCloud2, field_names: Iterable[str] | None = None, skip_nans: bool = False,
    uvs: Iterable[int] | None = None, reshape_organized_cloud: bool = False,
) -> Array:  # fmt: skip
    """(N, fields), for fields of one type."""
    names = None if field_names is None else list(field_names)
    types = {field.datatype for field in cloud.fields if names is None or field.name in names}
    assert len(types) <= 1, "All fields need to have the same datatype. Use `read_points()` otherwise."
    return structured_to_unstructured(read_points(cloud, names, skip_nans, uvs, reshape_organized_cloud))


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype[Any]:
    """Fields of count > 1 become name_0, name_1, ...; the point step gives the size with its padding."""
    names: list[str] = []
    offsets: list[int] = []
    formats: list[str] = []
    for index, field in enumerate(fields):
        assert field.count > 0, "Can't process fields with count = 0."
        datatype, name = _DATATYPES[field.datatype], field.name or f"{DUMMY_FIELD_PREFIX}_{index}"
        for element in range(field.count):
            names.append(f"{name}_{element}" if field.count > 1 else name)
            offsets.append(field.offset + element * datatype.itemsize)
            formats.append(datatype.str)
    assert len(set(names)) == len(names), "Duplicate field names are not allowed!"
    layout = {"names": names, "formats": formats, "offsets": offsets}
    sized: Any = layout if point_step is None else {**layout, "itemsize": point_step}
    return np.dtype(sized)


def create_cloud(
    header: Header, fields: Sequence[PointField], points: Iterable[Any], point_step: int | None = None
) -> PointCloud2:  # fmt: skip
    """From a structured array, an array (..., fields) of one type, or an iterable of points. Organised: (W, H)."""
    dtype = dtype_from_fields(fields, point_step)
    if not isinstance(points, np.ndarray):
        points = np.array([tuple(point) for point in points], dtype)
    elif points.dtype.names is None:
        assert len({field.datatype for field in fields}) == 1, (
            "All fields need to have the same datatype. Pass a structured NumPy array with multiple dtypes otherwise."
        )
        points = unstructured_to_structured(points, dtype)
    else:
        assert points.dtype == dtype, (
            "PointFields and structured NumPy array dtype do not match for all fields! Check their names and types."
        )
    assert points.ndim <= 2, "Too many dimensions for organized cloud! Points can only be organized in two dimensions"
    cloud = PointCloud2(
        header=header, fields=fields, width=points.shape[0], height=points.shape[1] if points.ndim == 2 else 1,
        point_step=dtype.itemsize, row_step=dtype.itemsize * points.shape[0],
        is_bigendian=sys.byteorder == "big", is_dense=False,
    )  # fmt: skip
    cloud.data.frombytes(np.ascontiguousarray(points).reshape(-1).view(np.uint8))
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable[Any]) -> PointCloud2:
    fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")]
    return create_cloud(header, fields, points)
