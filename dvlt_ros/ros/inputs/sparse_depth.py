"""Measured depth: depth images, clouds and laser scans as points in a camera at an image's stamp."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import read_points

from ...errors import InputError
from ...lens import Lens, lens_of_camera_info, rectification
from ...mapping.sensors.odometry import CameraInOdom, OdometryError, inverse
from ...mapping.sensors.sparse_depth import DepthError, LateDepthError, SparseDepthConfig, points_of_image, usable
from ..config import NodeConfig
from ..outputs.frame_outputs import prefixed
from .intake import FollowingSubscription
from .tf_tree import TfTree, TreeError

TOPICS: dict[str, tuple[type, str]] = {
    "image": (Image, "sparse_depth/image"),
    "cloud": (PointCloud2, "sparse_depth/points"),
    "scan": (LaserScan, "scan"),
}
ENCODINGS: dict[str, tuple[np.dtype, float]] = {
    "16UC1": (np.dtype(np.uint16), 1e-3),
    "32FC1": (np.dtype(np.float32), 1.0),
}  # with metres per unit (REP-118)
FLOATS = (PointField.FLOAT32, PointField.FLOAT64)
KEPT = 60  # messages: 2 s of depth images, 6 s of a laser
BACKWARDS_NS = 10**9  # a stamp that goes back by more is of another run of the clock
QUEUE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST)
Measurement: TypeAlias = Image | PointCloud2 | LaserScan


class SparseDepthIntake:
    """Keeps the latest messages undecoded; any thread but the executor's may call `points`."""

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        depth: SparseDepthConfig,
        tree: TfTree,
        odometry: Callable[[int, str], CameraInOdom] | None,
    ) -> None:
        """``odometry`` gives the pose of a frame at a stamp, for the motion between image and measurement."""
        self._prefix = config.frames.prefix
        self._config = depth
        self._tree = tree
        self._odometry = odometry
        self._messages: tuple[tuple[int, Measurement], ...] = ()  # replaced as a whole: another thread reads it
        self._lens: Lens | None = None
        self._lens_problem = ""
        kind, topic = TOPICS[config.measured_depth.source]
        self._subscriptions = [FollowingSubscription(node, kind, topic, self._on_message, "auto", QUEUE)]
        if config.measured_depth.source == "image":
            info = FollowingSubscription(node, CameraInfo, "sparse_depth/camera_info", self._on_info, "auto", QUEUE)
            self._subscriptions.append(info)

    def follow(self) -> None:
        for subscription in self._subscriptions:
            subscription.follow()

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()

    def points(self, stamp_ns: int, frame_id: str) -> np.ndarray:
        """(N, 3), metres, in a camera at a stamp.

        Raises:
            DepthError: there is no measurement at that stamp, it cannot be used, or the sensor's pose is not known.
        """
        measured_ns, message = self._nearest(stamp_ns)
        try:
            points = usable(self._decoded(message), self._config)
        except InputError as error:
            raise DepthError(f"{self._subscriptions[0].topic}: {error}") from error
        sensor, camera = (prefixed(self._prefix, name) for name in (message.header.frame_id, frame_id))
        cam_from_sensor = self._transform(camera, stamp_ns, sensor, measured_ns)
        return points @ cam_from_sensor[:3, :3].T + cam_from_sensor[:3, 3]

    def _nearest(self, stamp_ns: int) -> tuple[int, Measurement]:
        sensor, messages = self._subscriptions[0], self._messages
        if not messages:
            publishers = "" if sensor.num_publishers else ", which has no publisher"
            raise DepthError(f"nothing has arrived on {sensor.topic}{publishers}")
        measured_ns, message = min(messages, key=lambda entry: abs(entry[0] - stamp_ns))
        away_s = (measured_ns - stamp_ns) * 1e-9
        if abs(away_s) > self._config.tolerance_s:
            clocks = "; do both use the same clock?" if abs(away_s) > 10 else ""
            kind = LateDepthError if measured_ns == messages[-1][0] and away_s < 0 else DepthError
            raise kind(
                f"{sensor.topic}: the nearest message is {abs(away_s):.3f} s {'newer' if away_s > 0 else 'older'} than "
                f"the image, measured_depth.tolerance_s is {self._config.tolerance_s:g}{clocks}"
            )
        return measured_ns, message

    def _transform(self, camera: str, stamp_ns: int, sensor: str, measured_ns: int) -> np.ndarray:
        """cam_from_sensor (4, 4): the camera at one stamp, the sensor at another, if there is odometry at both."""
        if self._odometry is not None and measured_ns != stamp_ns:
            try:
                at_image, at_measurement = self._odometry(stamp_ns, camera), self._odometry(measured_ns, sensor)
                if at_image.epoch == at_measurement.epoch:
                    return inverse(at_image.odom_from_cam) @ at_measurement.odom_from_cam
            except OdometryError:
                pass  # the stamps are close: the mounts alone are nearly right
        try:
            return self._tree.look_up(camera, sensor, stamp_ns)
        except TreeError as error:
            raise DepthError(str(error)) from error

    def _decoded(self, message: Measurement) -> np.ndarray:
        """Points (N, 3), metres, in the sensor's own frame."""
        if not message.header.frame_id:
            raise DepthError("it has no frame_id; the driver must set it")
        if isinstance(message, LaserScan):
            return points_of_scan(message)
        if isinstance(message, PointCloud2):
            return points_of_cloud(message)
        depth_m, lens = depth_of_image(message), self._lens
        if lens is None:
            raise DepthError(self._lens_problem or f"it has no camera_info on {self._subscriptions[1].topic}")
        if lens.size != depth_m.shape:
            (height, width), (own_height, own_width) = lens.size, depth_m.shape
            raise DepthError(f"its camera_info is for {width} x {height} pixels, it has {own_width} x {own_height}")
        if not lens.is_distorted:
            return points_of_image(depth_m, lens.intrinsics)
        pinhole = rectification(lens)
        return points_of_image(pinhole.depth(depth_m), pinhole.intrinsics)

    def _on_message(self, message: Measurement, _: dict[str, int]) -> None:
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        if self._messages and self._messages[-1][0] - stamp_ns > BACKWARDS_NS:
            self._messages = ()
        self._messages = (*self._messages[1 - KEPT :], (stamp_ns, message))

    def _on_info(self, message: CameraInfo) -> None:
        try:
            self._lens = lens_of_camera_info(message, rectified=False)
        except InputError as error:
            self._lens, self._lens_problem = None, str(error)


def depth_of_image(message: Image) -> np.ndarray:
    """(H, W) float32, metres. Raises DepthError."""
    if message.encoding not in ENCODINGS:
        raise DepthError(
            f"its encoding '{message.encoding}' is not that of depth: 16UC1 in millimetres or 32FC1 in metres (REP-118)"
        )
    kind, metres = ENCODINGS[message.encoding]
    height, width = message.height, message.width
    step = message.step
    if not (height and width) or step < width * kind.itemsize or len(message.data) < height * step:
        raise DepthError(
            f"it is truncated: {len(message.data)} bytes for {width} x {height} pixels of {message.encoding}"
        )
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)[:, : width * kind.itemsize]
    depth = np.ascontiguousarray(rows).view(kind)
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        depth = depth.byteswap()
    return depth.astype(np.float32) * np.float32(metres)


def points_of_cloud(message: PointCloud2) -> np.ndarray:
    """(N, 3) float64. Raises DepthError."""
    kinds = {field.name: field.datatype for field in message.fields}
    if any(kinds.get(name) not in FLOATS for name in "xyz"):
        raise DepthError(f"it has the fields {', '.join(kinds) or 'none'}, but needs x, y and z as floats")
    if len(message.data) < message.width * message.height * message.point_step:
        raise DepthError(f"it is truncated: {len(message.data)} bytes for {message.width} x {message.height} points")
    points = read_points(message, field_names=("x", "y", "z")).ravel()
    return np.stack([points[name].astype(np.float64) for name in "xyz"], axis=-1)


def points_of_scan(message: LaserScan) -> np.ndarray:
    """(N, 3) in the scan's plane: x ahead, angles from x to y; ranges without a hit are left out (REP-117)."""
    ranges = np.asarray(message.ranges, dtype=np.float64)
    angle = message.angle_min + message.angle_increment * np.arange(len(ranges))
    with np.errstate(invalid="ignore"):
        hit = np.isfinite(ranges) & (ranges >= message.range_min) & (ranges <= message.range_max)
    ranges, angle = ranges[hit], angle[hit]
    return np.stack([ranges * np.cos(angle), ranges * np.sin(angle), np.zeros_like(ranges)], axis=-1)
