"""Publishers of every frame of one camera."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from ...errors import InputError
from ...mapping.data.frames import Reconstruction
from ...mapping.outputs.obstacles import obstacle_points
from ...mapping.outputs.rendering import RenderedFrame, size_beside
from .. import messages
from ..config import NodeConfig
from ..inputs.tf_tree import TfTree, TreeError

QUEUE = QoSProfile(depth=5)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class FrameOutputs:
    """The publishers of one camera. Messages without a subscriber are not made."""

    def __init__(self, node: LifecycleNode, config: NodeConfig, tree: TfTree | None, camera: str = "") -> None:
        """``tree`` has the mount of the camera; the topics of a rig's ``camera`` begin with its name."""
        self.obstacle_problem = ""
        self._node = node
        self._tree = tree
        self._prefix = config.frames.prefix
        self._size = (config.output.height, config.output.width) if config.output.height else None
        self._first_size: tuple[int, int] | None = None  # of the stream's pictures, if no size is asked for
        topics = f"{camera}/" if camera else ""
        self._depth = self._publisher(Image, f"{topics}depth/image", QUEUE)
        self._compressed_depth = self._publisher(CompressedImage, f"{topics}depth/image/compressedDepth", QUEUE)
        self._camera_info = self._publisher(CameraInfo, f"{topics}depth/camera_info", QUEUE)
        self._rgb = self._publisher(Image, f"{topics}rgb/image_rect", QUEUE)
        self._confidence = self._publisher(Image, f"{topics}confidence/image", QUEUE)
        self._points = self._publisher(PointCloud2, f"{topics}points", QUEUE)
        self._obstacles = self._publisher(PointCloud2, f"{topics}obstacles", QUEUE)

    def publish_frame(self, reconstruction: Reconstruction, is_metric: bool, config: NodeConfig) -> None:
        """All topics with the image's stamp; lengths only in metres, or if they may be unscaled."""
        frame = RenderedFrame(reconstruction, self._size or self._size_of(reconstruction))
        head = messages.header(self._prefixed(reconstruction.frame_id), reconstruction.stamp_ns)
        if wanted(self._rgb):
            self._rgb.publish(messages.image_message(frame.rgb, "rgb8", head))
        if wanted(self._confidence):
            self._confidence.publish(messages.image_message(frame.confidence, "32FC1", head))
        if wanted(self._camera_info):
            self._camera_info.publish(messages.camera_info_message(frame, head))
        self.obstacle_problem = self._publish_obstacles(frame, head, config) if is_metric else ""
        if not (is_metric or may_be_unscaled(config)):
            return
        if wanted(self._depth):
            self._depth.publish(messages.image_message(frame.depth, "32FC1", head))
        if wanted(self._compressed_depth):
            self._compressed_depth.publish(messages.compressed_depth_message(frame.depth, head))
        if wanted(self._points):
            cloud = frame.points(config.output.points_stride, config.output.points_organized)
            self._points.publish(messages.cloud_message(cloud, head))

    def _size_of(self, reconstruction: Reconstruction) -> tuple[int, int]:
        height, width = reconstruction.picture.image.shape[:2]
        self._first_size = self._first_size or (height, width)
        return size_beside(self._first_size, (height, width))

    def close(self) -> None:
        for publisher in vars(self).copy().values():
            if isinstance(publisher, LifecyclePublisher):
                self._node.destroy_lifecycle_publisher(publisher)

    def _publish_obstacles(self, frame: RenderedFrame, head: Header, config: NodeConfig) -> str:
        """Returns why they are withheld, or nothing. No obstacle: an empty cloud; no trusted depth: no cloud."""
        if self._tree is None or not wanted(self._obstacles):
            return ""
        cloud = frame.points(config.output.points_stride)
        if not len(cloud):
            return ""
        try:
            stamp_ns = Time.from_msg(head.stamp).nanoseconds
            base_from_cam = self._tree.look_up(self._prefixed(config.frames.base), head.frame_id, stamp_ns)
            heights = config.obstacles
            found = obstacle_points(cloud, base_from_cam, heights.min_height_m, heights.max_height_m)
        except (TreeError, InputError) as error:
            return f"obstacles are withheld: {error}"
        self._obstacles.publish(messages.cloud_message(found, head))
        return ""

    def _prefixed(self, frame_id: str) -> str:
        return prefixed(self._prefix, frame_id)

    def _publisher(self, kind: type, topic: str, qos: QoSProfile) -> LifecyclePublisher[Any]:
        return self._node.create_lifecycle_publisher(
            kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )


def prefixed(prefix: str, frame_id: str) -> str:
    """``frames.prefix`` is put before frames that do not have it yet."""
    return frame_id if frame_id.startswith(prefix) else prefix + frame_id


def may_be_unscaled(config: NodeConfig) -> bool:
    """Whether unscaled lengths may be published: never if there is a source of metric scale."""
    return config.output.publish_unscaled and not config.has_metric_source


def wanted(publisher: LifecyclePublisher[Any]) -> bool:
    return bool(publisher.get_subscription_count())
