"""All publishers of the node, apart from status and diagnostics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2

from ...health import Health, Level
from ...mapping.data.frames import Reconstruction
from ...mapping.maps.map_part import MapSnapshot
from ...mapping.maps.map_update import MapUpdate
from ...mapping.outputs.rendering import point_records
from .. import messages
from ..config import NodeConfig
from ..inputs.odometry import OdometryIntake
from ..inputs.tf_tree import CameraAnchor, OdomAnchor, TfTree, TreeError
from .frame_outputs import LATCHED, QUEUE, FrameOutputs, may_be_unscaled, wanted
from .live_view import LiveView
from .odometry import odometry_message, step_at
from .surfaces import SurfaceOutputs

UNJOINED_RESIDUAL = 0.1  # of a map's first window, which has no registration: the largest that is accepted


class Outputs(FrameOutputs):
    """Publishers of the camera, of all cameras of a rig, and of the map."""

    def __init__(
        self, node: LifecycleNode, config: NodeConfig, anchor: CameraAnchor | OdomAnchor | None,
        odometry: OdometryIntake | None, tree: TfTree | None = None,
    ) -> None:  # fmt: skip
        """``anchor`` publishes TF, ``odometry`` has the name of odom's frame, ``tree`` has the camera's mount."""
        super().__init__(node, config, tree, config.cameras.leading)
        self._others = {camera: FrameOutputs(node, config, tree, camera) for camera in config.cameras.names[1:]}
        self.surfaces = SurfaceOutputs(node, config)
        self._anchor_problem = ""
        self._anchor, self._odometry = anchor, odometry
        self._map_frame = self._prefix + config.frames.map
        self._odom_frame, self._base_frame = (
            self._prefix + name for name in (config.visual_odometry.frame, config.frames.base)
        )
        self._anchors_odometry = config.placement == "odom_to_camera"
        self._odometry_problem = ""
        self._pose = self._publisher(PoseWithCovarianceStamped, "pose", QUEUE)
        self._visual_odometry = self._publisher(Odometry, "odometry", QUEUE)
        self._path = self._publisher(Path, "path", LATCHED)
        self._map_points = self._publisher(PointCloud2, "map_points", LATCHED)
        self._map_listeners = 0
        self._live_view = LiveView(config.output.rerun, node.get_logger().warning) if config.output.rerun else None

    def tf_health(self, mapper: Health) -> Health:
        """``mapper``: its worst component, as the reason why map -> odom is stale."""
        if isinstance(self._anchor, OdomAnchor) and self._anchor.is_stale:
            reason = f"; {mapper.text}" if mapper.level != Level.OK else ""
            return Health.error(f"map -> odom has ended: no metric window for {self._anchor.stale_after_s:g} s{reason}")
        obstacles = (outputs.obstacle_problem for outputs in (self, *self._others.values()))
        problems = dict.fromkeys(filter(None, (self._anchor_problem, self._odometry_problem, *obstacles)))
        return Health.unless(f"TF: {'; '.join(problems)}" if problems else "")

    def publish(self, reconstruction: Reconstruction, update: MapUpdate, config: NodeConfig) -> None:
        """Publishes one frame; lengths only in metres, or if they may be unscaled."""
        if self._live_view is not None and update.is_placed:
            self._live_view.show(reconstruction, update.is_metric)  # the view labels unscaled lengths
        outputs = self._others.get(reconstruction.camera, self)
        outputs.publish_frame(reconstruction, update.is_metric, config)
        if update.is_lost or not (update.is_metric or may_be_unscaled(config)):
            return
        if wanted(self._pose) and outputs is self:
            self._publish_pose(reconstruction, None if update.window is None else update.window.registration.residual)
        self._publish_odometry(reconstruction, update)
        if update.window is not None and reconstruction.camera == update.window.leading_camera:
            self._publish_transform(reconstruction, update)

    def publish_map(self, snapshot: Callable[[], MapSnapshot], changed: bool, config: NodeConfig) -> None:
        """Publishes cloud and path if the map has changed or there is a new subscriber."""
        listeners = self._path.get_subscription_count() + self._map_points.get_subscription_count()
        is_due = listeners and (changed or listeners > self._map_listeners)
        self._map_listeners = listeners
        if not is_due or not (may_be_unscaled(config) or config.has_metric_source):
            return
        map_ = snapshot()
        if not (len(map_.stamps_ns) or len(map_.cloud.points)):  # a rig's first camera may be silent
            return
        path = messages.path_message(map_.stamps_ns, map_.map_from_cam, self._map_frame)
        if wanted(self._path):
            self._path.publish(path)
        if wanted(self._map_points):
            self._map_points.publish(messages.cloud_message(point_records(map_.cloud), path.header))

    def close(self) -> None:
        if self._live_view is not None:
            self._live_view.stop()
        for outputs in self._others.values():
            outputs.close()
        self.surfaces.close()
        super().close()

    def _publish_pose(self, reconstruction: Reconstruction, residual: float | None) -> None:
        """The registration's residual, relative to the depth, gives the deviation; nothing without trusted depth."""
        if not np.isfinite(reconstruction.depth).any():
            return
        relative = UNJOINED_RESIDUAL if residual is None else residual
        head = messages.header(self._map_frame, reconstruction.stamp_ns)
        self._pose.publish(
            messages.pose_with_covariance_message(
                reconstruction.map_from_cam, relative * float(np.nanmedian(reconstruction.depth)), relative, head
            )
        )

    def _publish_odometry(self, reconstruction: Reconstruction, update: MapUpdate) -> None:
        """Only in metres, and only where TF knows the camera's mount on the base."""
        step = step_at(update, reconstruction)
        self._odometry_problem = ""
        if step is None or self._tree is None or not wanted(self._visual_odometry):
            return
        camera_frame = self._prefixed(reconstruction.frame_id)
        try:
            base_from_cam = self._tree.look_up(self._base_frame, camera_frame, step.stamp_ns)
        except TreeError as error:
            self._odometry_problem = f"odometry is withheld: {error}"
            return
        head = messages.header(self._odom_frame, step.stamp_ns)
        self._visual_odometry.publish(odometry_message(step, base_from_cam, head, self._base_frame))

    def _publish_transform(self, reconstruction: Reconstruction, update: MapUpdate) -> None:
        camera_frame = self._prefixed(reconstruction.frame_id)
        try:
            if isinstance(self._anchor, CameraAnchor):
                if (pose := self._anchored_pose(reconstruction, update)) is not None:
                    self._anchor.publish(camera_frame, reconstruction.stamp_ns, pose)
            elif self._anchor is not None and self._odometry is not None and update.map_from_odom is not None:
                self._anchor.publish(self._odometry.odom_frame, update.map_from_odom)
            self._anchor_problem = ""
        except TreeError as error:
            self._anchor_problem = str(error)

    def _anchored_pose(self, reconstruction: Reconstruction, update: MapUpdate) -> np.ndarray | None:
        """The camera (4, 4) in the map or, with tf.mode odom_to_camera, in our odometry; None: it has no pose there."""
        if not self._anchors_odometry:
            return reconstruction.map_from_cam
        step = step_at(update, reconstruction)
        return None if step is None else step.odom_from_cam
