"""An MCAP recording with the node's own topics, written without ROS (through rosbags)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..frame_names import frame_name, message_stamp_ns
from ..geometry import quaternion_from_matrix

INSTALL = "pip install 'rosbags>=0.11,<0.12'"
FLOAT32 = 7  # sensor_msgs/PointField
TOPICS = {
    "depth/image": "sensor_msgs/msg/Image",
    "depth/camera_info": "sensor_msgs/msg/CameraInfo",
    "rgb/image_rect": "sensor_msgs/msg/Image",
    "confidence/image": "sensor_msgs/msg/Image",
    "points": "sensor_msgs/msg/PointCloud2",
    "map_points": "sensor_msgs/msg/PointCloud2",
    "pose": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "path": "nav_msgs/msg/Path",
    "tf": "tf2_msgs/msg/TFMessage",
}
OF_FRAMES = ("depth/image", "depth/camera_info", "rgb/image_rect", "confidence/image", "points")
LATCHED = ("map_points", "path")  # as the node offers them: whoever comes later gets the last one
DEPTHS = {"tf": 100} | dict.fromkeys(LATCHED, 1)  # of the publishers' queues; others 5
MAX_SECONDS = 2**31  # of a stamp


class McapRecording:
    """A rosbag2 folder with one MCAP file, its chunks packed with zstd, as `ros2 bag play` and RViz want it."""

    def __init__(self, folder: Path, cameras: Sequence[str] = ()) -> None:
        """``cameras``: names within a rig; the topics of each begin with its name.

        Raises:
            InputError: the folder is there already, or cannot be made.
        """
        try:
            from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise InputError(f"writing an MCAP needs rosbags: {INSTALL}") from error
        self._is_open = False
        self._kinds = {name: kind for topic, kind in TOPICS.items() for name in topics_of(topic, cameras)}
        self._folder, self._store = folder, get_typestore(Stores.ROS2_JAZZY)
        with self._errors():
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
            self._is_open = True
            self._connections = {
                topic: self._writer.add_connection(
                    f"/{topic}", kind, typestore=self._store, offered_qos_profiles=[_offered(topic)]
                )
                for topic, kind in self._kinds.items()
            }

    def close(self) -> None:
        """Once is enough. Raises InputError: the end of it cannot be written."""
        if self._is_open:
            self._is_open = False
            with self._errors():
                self._writer.close()

    def write_image(self, topic: str, image: np.ndarray, encoding: str, frame_id: str, stamp_ns: int) -> None:
        height, width = image.shape[:2]
        data = np.ascontiguousarray(image).reshape(-1).view(np.uint8)
        self._write(
            topic, stamp_ns, header=self._header(frame_id, stamp_ns), height=height, width=width, encoding=encoding,
            is_bigendian=0, step=len(data) // height, data=data,
        )  # fmt: skip

    def write_camera_info(
        self, topic: str, intrinsics: np.ndarray, size: tuple[int, int], frame_id: str, stamp_ns: int
    ) -> None:
        """Undistorted; ROS puts pixel centres at integers."""
        k = intrinsics.copy()
        k[:2, 2] -= 0.5
        roi = self._type("sensor_msgs/msg/RegionOfInterest")(
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        self._write(
            topic, stamp_ns, header=self._header(frame_id, stamp_ns), height=size[0], width=size[1],
            distortion_model="plumb_bob", d=np.zeros(5), k=k.ravel(), r=np.eye(3).ravel(),
            p=np.hstack([k, np.zeros((3, 1))]).ravel(), binning_x=0, binning_y=0, roi=roi,
        )  # fmt: skip

    def write_cloud(self, topic: str, cloud: np.ndarray, frame_id: str, stamp_ns: int) -> None:
        """Records (N,) of 4-byte fields, without NaN."""
        field = self._type("sensor_msgs/msg/PointField")
        names = cloud.dtype.names or ()
        fields = [field(name=name, offset=4 * i, datatype=FLOAT32, count=1) for i, name in enumerate(names)]
        self._write(
            topic, stamp_ns, header=self._header(frame_id, stamp_ns), height=1, width=len(cloud), fields=fields,
            is_bigendian=False, point_step=cloud.itemsize, row_step=cloud.nbytes,
            data=np.ascontiguousarray(cloud).view(np.uint8), is_dense=True,
        )  # fmt: skip

    def write_pose(
        self, map_from_cam: np.ndarray, map_frame: str, stamp_ns: int, deviation: float = 0.0, angle: float = 0.0
    ) -> None:
        """Standard deviations of the position, in the map's unit, and of the rotation, in radians; 0: not told."""
        covariance = np.diag([deviation**2] * 3 + [angle**2] * 3).ravel()
        pose = self._type("geometry_msgs/msg/PoseWithCovariance")(self._pose(map_from_cam), covariance)
        self._write("pose", stamp_ns, header=self._header(map_frame, stamp_ns), pose=pose)

    def write_transforms(self, links: Iterable[tuple[str, str, np.ndarray]], stamp_ns: int) -> None:
        """(parent, child, parent_from_child (4, 4)) at one stamp, on /tf."""
        vector, transform, stamped = (
            self._type(f"geometry_msgs/msg/{name}") for name in ("Vector3", "Transform", "TransformStamped")
        )
        transforms = []
        for parent, child, parent_from_child in links:
            pose = self._pose(parent_from_child)
            translation = vector(x=pose.position.x, y=pose.position.y, z=pose.position.z)
            edge = transform(translation=translation, rotation=pose.orientation)
            transforms.append(
                stamped(header=self._header(parent, stamp_ns), child_frame_id=frame_name(child), transform=edge)
            )
        self._write("tf", stamp_ns, transforms=transforms)

    def write_path(self, stamps_ns: np.ndarray, map_from_cam: np.ndarray, map_frame: str) -> None:
        stamped = self._type("geometry_msgs/msg/PoseStamped")
        poses = [
            stamped(header=self._header(map_frame, int(stamp)), pose=self._pose(pose))
            for stamp, pose in zip(stamps_ns, map_from_cam, strict=True)
        ]
        self._write("path", int(stamps_ns[-1]), header=poses[-1].header, poses=poses)

    def write_serialised(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """A message of another recording. Raises InputError: no room, for example."""
        with self._errors():
            self._writer.write(self._connections[topic], stamp_ns, data)

    def write_message(self, topic: str, stamp_ns: int, message: Any) -> None:
        """As rosbags has decoded it."""
        self.write_serialised(topic, stamp_ns, self._store.serialize_cdr(message, self._kinds[topic]))

    def _write(self, topic: str, stamp_ns: int, **values: Any) -> None:
        self.write_message(topic, stamp_ns, self._type(self._kinds[topic])(**values))

    def _header(self, frame_id: str, stamp_ns: int) -> Any:
        if not 0 <= stamp_ns < MAX_SECONDS * 10**9:
            raise InputError(f"{self._folder}: {stamp_ns} ns is no stamp that a message can have")
        stamp_ns = message_stamp_ns(stamp_ns)
        stamp = self._type("builtin_interfaces/msg/Time")(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self._type("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_name(frame_id))

    def _pose(self, target_from_source: np.ndarray) -> Any:
        x, y, z, w = quaternion_from_matrix(torch.from_numpy(target_from_source[:3, :3])).tolist()
        position = self._type("geometry_msgs/msg/Point")(*target_from_source[:3, 3].tolist())
        return self._type("geometry_msgs/msg/Pose")(
            position=position, orientation=self._type("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)
        )

    def _type(self, name: str) -> Any:
        return self._store.types[name]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What rosbags and the system raise names the folder and the cause."""
        from rosbags.rosbag2 import WriterError

        try:
            yield
        except (WriterError, OSError) as error:
            cause = getattr(error, "strerror", None) or error
            raise InputError(f"{self._folder}: cannot be written: {cause}") from error


def topics_of(topic: str, cameras: Sequence[str]) -> list[str]:
    """Its names: of what frames show one per camera of a rig."""
    return [f"{camera}/{topic}" for camera in cameras] if cameras and topic in OF_FRAMES else [topic]


def _offered(topic: str) -> Any:
    """What the node's publisher of this topic offers, so that players offer it, too."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(9223372036, 854775807)  # as rosbag2 writes it
    durability = QosDurability.TRANSIENT_LOCAL if topic in LATCHED else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST, DEPTHS.get(topic, 5), QosReliability.RELIABLE, durability, forever, forever,
        QosLiveliness.AUTOMATIC, forever, False,
    )  # fmt: skip
