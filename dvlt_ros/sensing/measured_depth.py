"""Measured depth: depth images, clouds and laser scans as points in a camera at an image's stamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DataError, DvltError, InputError
from ..frame_names import frame_name
from ..imaging import depth_image
from ..imaging.decoder import bytes_of
from ..lens import Lens, lens_of_camera_info, rectification
from ..mapping.sensors.odometry import CameraInOdom, OdometryError, inverse
from ..mapping.sensors.sparse_depth import DepthError, LateDepthError, SparseDepthConfig, points_of_image, usable

ENCODINGS = ("16UC1", "32FC1")  # millimetres, metres (REP-118)
FLOATS = {7: "f4", 8: "f8"}  # of sensor_msgs/PointField
ANOTHER_CLOCK_S = 10.0  # stamps further apart are of two clocks

LookUp = Callable[[str, str, int], np.ndarray]  # target_from_source (4, 4) at a stamp in ns, or DvltError


class DepthReader:
    """Messages of one sensor, whose mount is in TF."""

    def __init__(
        self,
        topic: str,
        config: SparseDepthConfig,
        look_up: LookUp,
        odometry: Callable[[int, str], CameraInOdom] | None,
        info_topic: str = "",
    ) -> None:
        """``odometry`` gives a frame of the robot at a stamp: with it the motion between two stamps is known.

        ``info_topic``: where the camera_info of depth images comes from.
        """
        self.topic = topic
        self._config, self._look_up, self._odometry, self._info_topic = config, look_up, odometry, info_topic
        self._lens: Lens | None = None
        self.lens_problem = f"it has no camera_info on {info_topic}"  # why depth images cannot be used

    def learn(self, camera_info: Any) -> None:
        """The lens of the depth images that follow."""
        try:
            self._lens, self.lens_problem = lens_of_camera_info(camera_info, rectified=False), ""
        except InputError as error:
            self._lens, self.lens_problem = None, str(error)

    def nearest(self, stamps_ns: np.ndarray, stamp_ns: int, may_be_late: bool) -> int:
        """Which message of those with stamps (N,), N at least 1, was taken with an image.

        ``may_be_late``: messages may still arrive after the last one.

        Raises:
            DepthError: the nearest one is too far; a LateDepthError if a nearer one may still arrive.
        """
        index = int(np.abs(stamps_ns - stamp_ns).argmin())
        away_s = (int(stamps_ns[index]) - stamp_ns) * 1e-9
        if abs(away_s) > self._config.tolerance_s:
            clocks = "; do both use the same clock?" if abs(away_s) > ANOTHER_CLOCK_S else ""
            is_late = may_be_late and away_s < 0 and stamps_ns[index] == stamps_ns[-1]
            raise (LateDepthError if is_late else DepthError)(
                f"{self.topic}: the nearest message is {abs(away_s):.3f} s {'newer' if away_s > 0 else 'older'} than "
                f"the image, measured_depth.tolerance_s is {self._config.tolerance_s:g}{clocks}"
            )
        return index

    def points(self, message: Any, measured_ns: int, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """(N, 3), metres, of a message in a camera at a stamp.

        Raises:
            DepthError: it cannot be used, or it is not known where the sensor was.
        """
        try:
            points = usable(self._decoded(message), self._config)
        except InputError as error:
            raise DepthError(f"{self.topic}: {error}") from error
        sensor, camera = frame_name(message.header.frame_id), frame_name(camera_frame)
        cam_from_sensor = self._transform(camera, stamp_ns, sensor, measured_ns)
        return points @ cam_from_sensor[:3, :3].T + cam_from_sensor[:3, 3]

    def _transform(self, camera: str, stamp_ns: int, sensor: str, measured_ns: int) -> np.ndarray:
        """cam_from_sensor (4, 4): the camera at one moment, the sensor at another, if odometry knows of both."""
        if self._odometry is not None and measured_ns != stamp_ns:
            try:
                at_image, at_measurement = self._odometry(stamp_ns, camera), self._odometry(measured_ns, sensor)
                if at_image.epoch == at_measurement.epoch:
                    return inverse(at_image.odom_from_cam) @ at_measurement.odom_from_cam
            except OdometryError:
                pass  # their mounts are known all the same, and they were taken almost together
        try:
            return self._look_up(camera, sensor, stamp_ns)
        except DvltError as error:
            raise DepthError(str(error)) from error

    def _decoded(self, message: Any) -> np.ndarray:
        """Points (N, 3), metres, in the sensor's own frame."""
        if not message.header.frame_id:
            raise DepthError("it has no frame_id; the driver must set it")
        if hasattr(message, "ranges"):
            return points_of_scan(message)
        if hasattr(message, "fields"):
            return points_of_cloud(message)
        depth_m, lens = depth_of_image(message), self._lens
        if lens is None:
            raise DepthError(self.lens_problem)
        if lens.size != depth_m.shape:
            (height, width), (own_height, own_width) = lens.size, depth_m.shape
            raise DepthError(f"its camera_info is for {width} x {height} pixels, it has {own_width} x {own_height}")
        if not lens.is_distorted:
            return points_of_image(depth_m, lens.intrinsics)
        pinhole = rectification(lens)
        return points_of_image(pinhole.depth(depth_m), pinhole.intrinsics)


def depth_of_image(message: Any) -> np.ndarray:
    """(H, W) float32, metres, 0 where there is none. Raises DepthError."""
    if getattr(message, "encoding", ENCODINGS[0]) not in ENCODINGS:
        raise DepthError(
            f"its encoding '{message.encoding}' is not that of depth: 16UC1 in millimetres or 32FC1 in metres (REP-118)"
        )
    try:
        return depth_image(message)
    except DataError as error:
        raise DepthError(str(error)) from error


def points_of_cloud(message: Any) -> np.ndarray:
    """(N, 3) float64. Raises DepthError."""
    fields = {field.name: field for field in message.fields}
    kinds = [FLOATS.get(fields[name].datatype) if name in fields else None for name in "xyz"]
    if None in kinds:
        raise DepthError(f"it has the fields {', '.join(fields) or 'none'}, but needs x, y and z as floats")
    height, width, step, data = message.height, message.width, message.point_step, bytes_of(message)
    row, offsets = max(message.row_step, width * step), [fields[name].offset for name in "xyz"]
    if not height * width:
        return np.zeros((0, 3))
    ends = [offset + np.dtype(kind).itemsize for offset, kind in zip(offsets, kinds, strict=True)]
    if max(ends) > step or len(data) < row * (height - 1) + width * step:
        raise DepthError(f"it is truncated: {len(data)} bytes for {width} x {height} points of {step}")
    order = ">" if message.is_bigendian else "<"
    record = np.dtype(
        {"names": list("xyz"), "formats": [f"{order}{kind}" for kind in kinds], "offsets": offsets, "itemsize": step}
    )
    points = np.ndarray((height, width), record, data, strides=(row, step)).ravel()
    return np.stack([points[name].astype(np.float64) for name in "xyz"], axis=-1)


def points_of_scan(message: Any) -> np.ndarray:
    """(N, 3) in the scan's plane: x ahead, angles from x to y; ranges that are none are left out (REP-117)."""
    ranges = np.asarray(message.ranges, dtype=np.float64)
    angle = message.angle_min + message.angle_increment * np.arange(len(ranges))
    with np.errstate(invalid="ignore"):
        hit = np.isfinite(ranges) & (ranges >= message.range_min) & (ranges <= message.range_max)
    ranges, angle = ranges[hit], angle[hit]
    return np.stack([ranges * np.cos(angle), ranges * np.sin(angle), np.zeros_like(ranges)], axis=-1)
