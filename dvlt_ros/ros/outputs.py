"""Everything that the node publishes about the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from ..engine.builder import MapBuilder
from ..engine.frames import Reconstruction
from ..engine.metric_map import PlacedWindow
from ..engine.rendering import RenderedFrame, point_records
from . import messages
from .config import NodeConfig
from .odometry import OdometryIntake
from .tf_tree import CameraAnchor, OdomAnchor, TreeError

QUEUE = QoSProfile(depth=5)
UNJOINED_RESIDUAL = 0.1  # of a map's first window, which has no seam: as much as a seam may have
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Outputs:
    """The publishers. A message that nobody listens to is not made."""

    def __init__(
        self, node: LifecycleNode, config: NodeConfig, anchor: CameraAnchor | OdomAnchor | None,
        odometry: OdometryIntake | None,
    ) -> None:  # fmt: skip
        """``anchor`` publishes TF, ``odometry`` names odom's frame."""
        self.tf_problem = ""
        self._node, self._anchor, self._odometry, self._prefix = node, anchor, odometry, config.frame_prefix
        self._map_frame = self._prefix + config.map_frame
        self._size = (config.output_height, config.output_width) if config.output_height else None
        self._depth = self._publisher(Image, "depth/image", QUEUE)
        self._camera_info = self._publisher(CameraInfo, "depth/camera_info", QUEUE)
        self._rgb = self._publisher(Image, "rgb/image_rect", QUEUE)
        self._confidence = self._publisher(Image, "confidence/image", QUEUE)
        self._points = self._publisher(PointCloud2, "points", QUEUE)
        self._pose = self._publisher(PoseWithCovarianceStamped, "pose", QUEUE)
        self._path = self._publisher(Path, "path", LATCHED)
        self._map_points = self._publisher(PointCloud2, "map_points", LATCHED)
        self._map_listeners = 0

    @property
    def tf_is_stale(self) -> bool:
        return isinstance(self._anchor, OdomAnchor) and self._anchor.is_stale

    def publish(self, reconstruction: Reconstruction, placed: PlacedWindow, config: NodeConfig) -> None:
        """One frame, everything with its stamp; what has a length only in metres, or if lengths may be unscaled."""
        if self._size is None:
            height, width = reconstruction.picture.image.shape[:2]
            self._size = height, width
        frame = RenderedFrame(reconstruction, self._size)
        camera_frame = self._prefixed(reconstruction.frame_id)
        head = messages.header(camera_frame, reconstruction.stamp_ns)
        if wanted(self._rgb):
            self._rgb.publish(messages.image_message(frame.rgb, "rgb8", head))
        if wanted(self._confidence):
            self._confidence.publish(messages.image_message(frame.confidence, "32FC1", head))
        if wanted(self._camera_info):
            self._camera_info.publish(messages.camera_info_message(frame, head))
        if not (placed.is_metric or may_be_unscaled(config)):
            return
        if wanted(self._depth):
            self._depth.publish(messages.image_message(frame.depth, "32FC1", head))
        if wanted(self._points):
            cloud = frame.points(config.points_stride, config.points_organized)
            self._points.publish(messages.cloud_message(cloud, head))
        if wanted(self._pose):
            self._publish_pose(reconstruction, placed.window.seam.residual)
        self._publish_transform(reconstruction, placed, camera_frame)

    def publish_map(self, builder: MapBuilder, changed: bool, config: NodeConfig) -> None:
        """Cloud and path, if there is something new, or somebody new."""
        listeners = self._path.get_subscription_count() + self._map_points.get_subscription_count()
        is_due = listeners and (changed or listeners > self._map_listeners)
        self._map_listeners = listeners
        if not is_due or not (may_be_unscaled(config) or config.odom_source != "none"):
            return
        snapshot = builder.snapshot()
        if not len(snapshot.stamps_ns):
            return
        path = messages.path_message(snapshot.stamps_ns, snapshot.map_from_cam, self._map_frame)
        if wanted(self._path):
            self._path.publish(path)
        if wanted(self._map_points):
            self._map_points.publish(messages.cloud_message(point_records(snapshot.cloud), path.header))

    def close(self) -> None:
        for publisher in vars(self).copy().values():
            if isinstance(publisher, LifecyclePublisher):
                self._node.destroy_lifecycle_publisher(publisher)

    def _publish_pose(self, reconstruction: Reconstruction, residual: float | None) -> None:
        """With the seam's residual, which is relative to the depth, as its deviation; not if no depth is trusted."""
        if not np.isfinite(reconstruction.depth).any():
            return
        relative = UNJOINED_RESIDUAL if residual is None else residual
        head = messages.header(self._map_frame, reconstruction.stamp_ns)
        self._pose.publish(
            messages.pose_with_covariance_message(
                reconstruction.map_from_cam, relative * float(np.nanmedian(reconstruction.depth)), relative, head
            )
        )

    def _publish_transform(self, reconstruction: Reconstruction, placed: PlacedWindow, camera_frame: str) -> None:
        try:
            if isinstance(self._anchor, CameraAnchor):
                self._anchor.publish(camera_frame, reconstruction.stamp_ns, reconstruction.map_from_cam)
            elif self._anchor is not None and self._odometry is not None and placed.map_from_odom is not None:
                self._anchor.publish(self._odometry.odom_frame, placed.map_from_odom)
            self.tf_problem = ""
        except TreeError as error:
            self.tf_problem = str(error)

    def _prefixed(self, frame_id: str) -> str:
        return frame_id if frame_id.startswith(self._prefix) else self._prefix + frame_id

    def _publisher(self, kind: type, topic: str, qos: QoSProfile) -> LifecyclePublisher[Any]:
        return self._node.create_lifecycle_publisher(
            kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )


def may_be_unscaled(config: NodeConfig) -> bool:
    """Where metres can be had, nothing else leaves."""
    return config.publish_unscaled and config.odom_source == "none"


def wanted(publisher: LifecyclePublisher[Any]) -> bool:
    return bool(publisher.get_subscription_count())
