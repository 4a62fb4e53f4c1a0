"""Arrays as ROS messages, and transforms both ways."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from geometry_msgs.msg import Pose, PoseStamped, PoseWithCovarianceStamped, Transform, TransformStamped
from nav_msgs.msg import OccupancyGrid, Path
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField
from std_msgs.msg import Header
from transforms3d.quaternions import mat2quat, quat2mat

from ..errors import DataError
from ..mapping.outputs.rendering import POINT, POINT_FIELDS, RenderedFrame
from ..mapping.surfaces.grid import Grid
from ..sources.poses import pose_from_quaternion
from .image_messages import header as header
from .image_messages import image_message as image_message

PNG_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # as image_transport does


def compressed_depth_message(depth: np.ndarray, head: Header) -> CompressedImage:
    """(H, W) float32 as image_transport's compressedDepth: 12 bytes of header, then inverse depth in a 16-bit PNG.

    A pixel is ``a / depth + b``, 0 where there is no depth; a and b, which the header tells, spread the depths of this
    image over all 16 bits.
    """
    seen = np.isfinite(depth) & (depth > 0)
    low, high = (float(depth[seen].min()), float(depth[seen].max())) if seen.any() else (1.0, 2.0)
    high = max(high, 2 * low)  # of a wall alone, a and b would exceed what 32 bits can tell apart
    a = np.float32((2**16 - 2) / (1 / low - 1 / high))  # as the header holds it
    b = np.float32(1 - a / high)
    inverse = np.zeros(depth.shape, np.uint16)
    inverse[seen] = np.clip(np.round(a / depth[seen] + b), 1, 2**16 - 1)
    message = CompressedImage(header=head, format="32FC1; compressedDepth png")
    message.data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", inverse, PNG_QUICK)[1].tobytes()
    return message


def camera_info_message(frame: RenderedFrame, head: Header) -> CameraInfo:
    """Undistorted pinhole camera; ROS puts pixel centres at integers."""
    (fx, _, cx), (_, fy, cy) = frame.intrinsics[:2].tolist()
    height, width = frame.size
    message = CameraInfo(header=head, height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [fx, 0.0, cx - 0.5, 0.0, fy, cy - 0.5, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx - 0.5, 0.0, 0.0, fy, cy - 0.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def cloud_message(cloud: np.ndarray, head: Header) -> PointCloud2:
    """`POINT` records (N,) without NaN, or organized (H, W) with NaN. Filled directly: one copy."""
    height, width = cloud.shape if cloud.ndim == 2 else (1, len(cloud))
    message = PointCloud2(
        header=head, height=height, width=width, is_dense=cloud.ndim == 1,
        point_step=POINT.itemsize, row_step=POINT.itemsize * width,
    )  # fmt: skip
    message.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate(POINT_FIELDS)
    ]
    message.data.frombytes(np.ascontiguousarray(cloud).reshape(-1).view(np.uint8))
    return message


def pose_message(target_from_source: np.ndarray) -> Pose:
    """A rigid transform (4, 4) as the pose of the source in the target."""
    message, (w, x, y, z) = Pose(), mat2quat(target_from_source[:3, :3]).tolist()
    position, orientation = message.position, message.orientation
    position.x, position.y, position.z = target_from_source[:3, 3].tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = x, y, z, w
    return message


def pose_with_covariance_message(
    map_from_cam: np.ndarray, deviation: float, angle: float, head: Header
) -> PoseWithCovarianceStamped:
    """Standard deviations of the position, in the map's unit, and of the rotation, in radians."""
    message = PoseWithCovarianceStamped(header=head)
    message.pose.pose = pose_message(map_from_cam)
    message.pose.covariance = np.diag([deviation**2] * 3 + [angle**2] * 3).ravel().tolist()
    return message


def path_message(stamps_ns: Iterable[int], map_from_cam: Iterable[np.ndarray], map_frame: str) -> Path:
    """Poses (4, 4). Messages of poses are cached, since a thousand take 50 ms."""
    poses = [
        _path_pose(int(stamp), np.ascontiguousarray(pose, np.float64).tobytes(), map_frame)
        for stamp, pose in zip(stamps_ns, map_from_cam, strict=True)
    ]
    return Path(header=poses[-1].header if poses else header(map_frame, 0), poses=poses)


@lru_cache(maxsize=2048)
def _path_pose(stamp_ns: int, map_from_cam: bytes, map_frame: str) -> PoseStamped:
    pose = pose_message(np.frombuffer(map_from_cam).reshape(4, 4))
    return PoseStamped(header=header(map_frame, stamp_ns), pose=pose)


def grid_message(grid: Grid, head: Header) -> OccupancyGrid:
    """In the map's frame, at the height of the floor; -1 unknown, 0 free, 100 occupied."""
    rows, columns = grid.cells.shape
    message = OccupancyGrid(header=head)
    message.info.map_load_time = head.stamp
    message.info.resolution, message.info.width, message.info.height = grid.resolution, columns, rows
    position = message.info.origin.position
    position.x, position.y, position.z = float(grid.origin[0]), float(grid.origin[1]), grid.floor
    message.data = array("b", np.ascontiguousarray(grid.cells).tobytes())
    return message


def transform_message(target_from_source: np.ndarray, target: str, source: str, stamp_ns: int) -> TransformStamped:
    message, pose = TransformStamped(), pose_message(target_from_source)
    message.header, message.child_frame_id = header(target, stamp_ns), source
    message.transform.rotation = pose.orientation
    translation, position = message.transform.translation, pose.position
    translation.x, translation.y, translation.z = position.x, position.y, position.z
    return message


def matrix_from_pose(pose: Pose) -> np.ndarray:
    """(4, 4), with the tolerance that recordings have. Raises DataError: it is no pose; it says what it holds."""
    t, q = pose.position, pose.orientation
    if not np.isfinite([t.x, t.y, t.z]).all():
        raise DataError(f"its position is ({t.x:g}, {t.y:g}, {t.z:g})")
    return pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def matrix_from_transform(transform: Transform) -> np.ndarray:
    """(4, 4) target_from_source."""
    t, q = transform.translation, transform.rotation
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = quat2mat([q.w, q.x, q.y, q.z]), (t.x, t.y, t.z)
    return matrix
