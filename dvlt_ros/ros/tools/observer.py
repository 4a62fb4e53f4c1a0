"""A subscriber of all outputs of the node: checks and counts them, and keeps some for drawing."""

from __future__ import annotations

import statistics
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from transforms3d.quaternions import quat2mat

from ...export import Shown
from .inspection import FrameMessages, cloud_array, image_array, violations

TOPICS = {
    "depth": (Image, "depth/image"),
    "camera_info": (CameraInfo, "depth/camera_info"),
    "rgb": (Image, "rgb/image_rect"),
    "confidence": (Image, "confidence/image"),
    "points": (PointCloud2, "points"),
}
POINTS_STRIDE = 2  # of the node that is observed
QUEUE = 50
SHOWN = 12


class Observer(Node):
    """Checks every complete set of messages once; incomplete sets are never counted as frames."""

    def __init__(self) -> None:
        super().__init__("observer")
        self.num_frames = 0
        self.violations: Counter[str] = Counter()
        self.shown: list[Shown] = []
        self.status: dict[str, str] = {}
        self.status_text = "nothing"
        self._partial: dict[int, dict[str, Any]] = {}  # by stamp, messages of incomplete frames
        self._map: PointCloud2 | None = None
        self._path: Path | None = None
        self._poses: dict[int, np.ndarray] = {}
        self._parents: dict[str, set[str]] = {}
        self._latencies_ms: list[float] = []
        self._stride = 1
        for name, (kind, topic) in TOPICS.items():
            self.create_subscription(kind, topic, partial(self._on_message, name), QUEUE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(PointCloud2, "map_points", self._on_map, latched)
        self.create_subscription(Path, "path", self._on_path, latched)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._on_pose, QUEUE)
        self.create_subscription(TFMessage, "/tf", self._on_transforms, QUEUE)
        self.create_subscription(DiagnosticStatus, "status", self._on_status, QUEUE)

    @property
    def is_settled(self) -> bool:
        """Whether the node has no frame in flight and all published frames have arrived."""
        return self.status.get("in_flight") == "0" and not self.num_lost

    @property
    def num_lost(self) -> int:
        """Frames that the node has published and that have not come, or not yet; 0 while it has some in flight."""
        return int(self.status["published"]) - self.num_frames if self.status.get("in_flight") == "0" else 0

    @property
    def map_cloud(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (N, 3), colours (N, 3) uint8 and confidence (N,) of the newest map."""
        if self._map is None:
            return np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32)
        cloud = cloud_array(self._map)
        colors = np.stack([cloud["rgb"] >> shift & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)
        return np.stack([cloud[axis] for axis in "xyz"], axis=-1), colors, cloud["confidence"]

    @property
    def num_maps(self) -> int:
        """How many maps were begun; each has an origin of its own."""
        return int(self.status.get("map_id", 0)) + 1

    @property
    def trajectory(self) -> tuple[np.ndarray, np.ndarray]:
        """Stamps (P,) and map_from_cam (P, 4, 4) of the newest map; those of earlier maps have other origins."""
        path = self._path.poses if self._path is not None else []
        begin_ns = Time.from_msg(path[0].header.stamp).nanoseconds if path else 0
        poses = {stamp_ns: pose for stamp_ns, pose in self._poses.items() if stamp_ns >= begin_ns}
        return np.array(list(poses), dtype=np.int64), np.array(list(poses.values())).reshape(-1, 4, 4)

    def summary(self) -> str:
        rows = {"frames received complete and checked": str(self.num_frames)}
        rows |= {name: self.status.get(name, "unknown") for name in ("accepted", "published", "dropped", "passed_over")}
        rows["maps begun"] = str(self.num_maps)
        if self._latencies_ms:
            rows["reception to publication, median"] = f"{statistics.median(self._latencies_ms):.0f} ms"
        rows |= {
            name: self.status.get(name, "unknown") for name in ("k", "window_ms", "image_size", "registration_residual")
        }
        rows["points in the map"] = str(len(self.map_cloud[0]))
        rows["transforms"] = ", ".join(f"{' and '.join(sorted(p))} -> {child}" for child, p in self._parents.items())
        for sentence, count in self.violations.items():
            rows[f"VIOLATION, {count} times"] = sentence
        return "".join(f"{name:<38}{value}\n" for name, value in rows.items())

    def _on_message(self, name: str, message: Any) -> None:
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        parts = self._partial.setdefault(stamp_ns, {})
        parts[name] = message
        if len(parts) == len(TOPICS):
            del self._partial[stamp_ns]
            self._check(FrameMessages(**parts), stamp_ns)

    def _check(self, frame: FrameMessages, stamp_ns: int) -> None:
        self.violations.update(violations(frame, POINTS_STRIDE))
        if self.num_frames % self._stride == 0:
            depth, confidence = image_array(frame.depth).copy(), image_array(frame.confidence).copy()
            self.shown.append(Shown(f"{stamp_ns * 1e-9:.2f} s", image_array(frame.rgb).copy(), depth, confidence))
            if len(self.shown) > SHOWN:
                self.shown, self._stride = self.shown[::2], 2 * self._stride
        self.num_frames += 1

    def _on_map(self, message: PointCloud2) -> None:
        self._map = message

    def _on_path(self, message: Path) -> None:
        self._path = message

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        p, q = message.pose.pose.position, message.pose.pose.orientation
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = quat2mat([q.w, q.x, q.y, q.z]), (p.x, p.y, p.z)
        self._poses[Time.from_msg(message.header.stamp).nanoseconds] = pose

    def _on_transforms(self, message: TFMessage) -> None:
        for transform in message.transforms:
            parents = self._parents.setdefault(transform.child_frame_id, set())
            parents.add(transform.header.frame_id)
            if len(parents) > 1:
                self.violations[f"{transform.child_frame_id} has several parents"] += 1

    def _on_status(self, message: DiagnosticStatus) -> None:
        self.status = {value.key: value.value for value in message.values}
        self.status_text = message.message
        if (latency := self.status.get("latency_ms")) is not None:
            self._latencies_ms.append(float(latency))
