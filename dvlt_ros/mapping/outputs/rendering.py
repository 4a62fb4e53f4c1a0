"""A reconstruction at the output size: the arrays that ROS messages and files share."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from ...geometry import every, pixel_axes
from ...model import PixelMapping
from ...model.images import Size
from ..data.frames import Cloud, Picture, Reconstruction

SAME_SURFACE = 0.05  # neighbouring depths that differ by less, relatively, may be mixed
POINT_FIELDS = ("x", "y", "z", "rgb", "confidence")  # 4 bytes each
POINT = np.dtype([(name, "<u4" if name == "rgb" else "<f4") for name in POINT_FIELDS])


class RenderedFrame:
    """Depth, confidence, colours and points of one frame at a fixed output size (height, width)."""

    def __init__(self, reconstruction: Reconstruction, size: Size) -> None:
        self._source = reconstruction
        self.size = size

    @cached_property
    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8: the undistorted picture."""
        image = self._source.picture.image
        if image.shape[:2] == self.size:
            return image
        return cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)

    @cached_property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) float64 in output pixels, pixel (0, 0) centred at (0.5, 0.5)."""
        return np.linalg.inv(self._map_from_output) @ self._source.intrinsics

    @cached_property
    def depth(self) -> np.ndarray:
        """(H, W) float32 along the optical axis; NaN where not trusted, and outside the network's crop.

        Interpolated linearly within a surface. At edges it is the nearest value, because a mean of two surfaces'
        depths would be a point where there is no surface.
        """
        source = self._source.depth
        linear, nearest = (self._resampled(source, mode, np.nan) for mode in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
        same_surface = cv2.absdiff(linear, nearest) <= SAME_SURFACE * nearest  # False beside NaN
        return np.where(same_surface, linear, nearest)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(H, W) float32, from 1 upwards; 1 outside the network's crop."""
        return self._resampled(self._source.confidence, cv2.INTER_LINEAR, 1.0)

    def points(self, stride: int = 1, organized: bool = False) -> np.ndarray:
        """`POINT` records in the camera's optical frame: (H', W'), untrusted ones NaN, if organized; else (N,)."""
        thin = every(stride)
        depth = self.depth[thin]
        columns, rows = (axis[part] for axis, part in zip(self._directions, reversed(thin), strict=True))
        colors = packed_rgb(self.rgb[thin]).view(np.float32)
        # OpenCV interleaves channels several times faster than writes into records do.
        cloud = cv2.merge([columns * depth, rows[:, None] * depth, depth, colors, self.confidence[thin]])
        opaque = cloud.view(f"V{POINT.itemsize}")[..., 0]  # NumPy selects from records field by field, slowly
        return opaque.view(POINT) if organized else opaque[np.isfinite(depth)].view(POINT)

    @property
    def _directions(self) -> tuple[np.ndarray, np.ndarray]:
        """x / z of every output column (W,) and y / z of every row (H,), float32."""
        (fx, _, cx), (_, fy, cy) = self.intrinsics[:2]
        u, v = pixel_axes(self.size)
        return ((u - cx) / fx).astype(np.float32), ((v - cy) / fy).astype(np.float32)

    @property
    def _map_from_output(self) -> np.ndarray:
        """(3, 3) from output pixels to those of the network's maps."""
        height, width = self._source.picture.image.shape[:2]
        (sx, sy), (ox, oy) = self._source.mapping.scale, self._source.mapping.offset
        sx, sy = sx * width / self.size[1], sy * height / self.size[0]
        return np.array([[sx, 0.0, ox], [0.0, sy, oy], [0.0, 0.0, 1.0]])

    def _resampled(self, values: np.ndarray, interpolation: int, outside: float) -> np.ndarray:
        lookup = _lookup(self._map_from_output.tobytes(), self.size, values.shape)
        sampled = cv2.remap(values, lookup.columns, lookup.rows, interpolation, borderMode=cv2.BORDER_REPLICATE)
        if lookup.outside is not None:
            sampled[lookup.outside] = outside
        return sampled


def size_beside(first: Size, picture: Size) -> Size:
    """Output size (height, width) of a picture in a stream whose first one had ``first``: that, standing or lying."""
    is_other_way = (picture[0] > picture[1]) != (first[0] > first[1])
    return first[::-1] if is_other_way else first


def on_depth_grid(reconstruction: Reconstruction) -> Reconstruction:
    """The same with its picture at the pixels of its depth: the part that the network saw, as large as it saw it."""
    height, width = reconstruction.depth.shape
    (by_x, by_y), (left, top) = reconstruction.mapping.scale, reconstruction.mapping.offset
    image = reconstruction.picture.image
    size = max(width, round(by_x * image.shape[1])), max(height, round(by_y * image.shape[0]))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    rows, columns = slice(-round(top), -round(top) + height), slice(-round(left), -round(left) + width)
    picture = Picture(np.ascontiguousarray(scaled[rows, columns]), reconstruction.intrinsics)
    mapping = PixelMapping((height, width), (height, width), (1.0, 1.0), (0.0, 0.0))
    return replace(reconstruction, picture=picture, mapping=mapping)


class _Lookup(NamedTuple):
    columns: np.ndarray  # (H, W) float32, source of each output pixel as OpenCV counts (pixel centres at integers)
    rows: np.ndarray
    outside: np.ndarray | None  # (H, W) bool: beyond the network's crop


@lru_cache(maxsize=8)
def _lookup(map_from_output: bytes, size: Size, map_size: Size) -> _Lookup:
    """Cached, because it is the same for every frame of a stream."""
    (sx, _, ox), (_, sy, oy) = np.frombuffer(map_from_output).reshape(3, 3)[:2]
    u, v = pixel_axes(size)
    columns, rows = u * sx + ox, v * sy + oy
    outside = ((rows < 0) | (rows > map_size[0]))[:, None] | ((columns < 0) | (columns > map_size[1]))
    x, y = np.meshgrid(columns.astype(np.float32) - 0.5, rows.astype(np.float32) - 0.5)
    return _Lookup(x, y, outside if outside.any() else None)


def packed_rgb(colors: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB as (...) uint32 0x00RRGGBB, which PCL and RViz read from a float32 field.

    The highest byte stays 0: with 0xff, strong reds would be NaN as a float, and readers that skip NaN lose the point.
    """
    if not colors.size:
        return np.empty(colors.shape[:-1], np.uint32)
    flat = np.ascontiguousarray(colors).reshape(-1, 1, 3)
    packed = cv2.cvtColor(flat, cv2.COLOR_RGB2BGRA).view("<u4").reshape(colors.shape[:-1])
    packed &= 0x00FFFFFF
    return packed


def point_records(cloud: Cloud) -> np.ndarray:
    """The cloud as `POINT` records (N,), in the cloud's frame."""
    records = np.empty(len(cloud.points), POINT)
    records["x"], records["y"], records["z"] = cloud.points.T
    records["rgb"], records["confidence"] = packed_rgb(cloud.colors), cloud.confidence
    return records
