"""Bags of a robot with exact odometry, and a network that is exact apart from what a test changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import bags
import numpy as np
import torch
from bags import STORE, Record, header
from room import FRAME_NS, FakePredictor, picture, pose, room_depth, turn

from dvlt_ros.geometry import quaternion_from_matrix

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 4.0], [-1, 0, 0, -2.0], [0, -1, 0, 0.3], [0, 0, 0, 1]])
LAP = 36  # frames
BEND_RAD = np.radians(0.35)  # by which a network that drifts turns too far from frame to frame


def laps(count: int) -> dict[int, np.ndarray]:
    """world_from_cam (4, 4) by stamp, round and round."""
    angles = [2 * np.pi * number / LAP for number in range(1, count + 1)]
    return {
        (i + 1) * FRAME_NS: pose((np.sin(a), 0.0, 1 - np.cos(a)), 3 * a) for i, a in enumerate(angles)
    }  # fmt: skip


@dataclass
class ReturningPredictor(FakePredictor):
    """Knows each place of the lap when it sees it again. Its windows drift by ``bend``; joint ones never."""

    bend: float = 0.0  # rad from frame to frame

    def __post_init__(self) -> None:
        super().__post_init__()
        self._true, self._bent = self.poses, dict(self.poses)
        for before, after in pairwise(sorted(self._true)):
            step = np.linalg.inv(self._true[before]) @ self._true[after]
            step[:3, :3] = step[:3, :3] @ turn(self.bend)
            self._bent[after] = self._bent[before] @ step

    def predict(self, views, num_steps, image_size, decoded):
        found = super().predict(views, num_steps, image_size, decoded)
        stamps = [views[index].frame.stamp_ns for index in decoded]
        gauge = found.window_from_cam[0] @ np.linalg.inv(_scaled(self._true[stamps[0]], self._unit(found, stamps)))
        bent = [gauge @ _scaled(self._bent[stamp_ns], self._unit(found, stamps)) for stamp_ns in stamps]
        return replace(found, window_from_cam=np.stack(bent))

    checkpoint = "abc"

    def describe(self, view, image_size):
        return np.random.default_rng(view.frame.stamp_ns // FRAME_NS % LAP).normal(size=(8, 24)).astype(np.float32)

    def predict_apart(self, views, num_steps, image_size):
        return super().predict(views, num_steps, image_size, range(len(views)))

    def _unit(self, found, stamps):
        return float(found.depth[0].max() / room_depth(self._true[stamps[0]]).max())


def _scaled(target_from_source: np.ndarray, unit: float) -> np.ndarray:
    scaled = target_from_source.copy()
    scaled[:3, 3] *= unit
    return scaled


def images(stamps_ns: Iterable[int]) -> list[Record]:
    return [("/camera/image_raw", bags.image(stamp_ns, picture(stamp_ns // FRAME_NS).image)) for stamp_ns in stamps_ns]


def odometry(
    poses: dict[int, np.ndarray], change: Callable[[int, np.ndarray], np.ndarray] = lambda _, pose: pose,
    topic: str = "/odom",
) -> list[Record]:  # fmt: skip
    """At the images' stamps; ``change`` gets the number of the frame and odom_from_base."""
    records = []
    for stamp_ns, world_from_cam in poses.items():
        odom_from_base = change(stamp_ns // FRAME_NS, odom_from_cam(world_from_cam) @ np.linalg.inv(BASE_FROM_CAM))
        vector = _type("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=0.0)
        twist = _type("geometry_msgs/msg/Twist")(linear=vector, angular=vector)
        x, y, z = odom_from_base[:3, 3].tolist()
        where = _type("geometry_msgs/msg/Pose")(
            position=_type("geometry_msgs/msg/Point")(x=x, y=y, z=z), orientation=_quaternion(odom_from_base)
        )
        message = _type("nav_msgs/msg/Odometry")(
            header=header(stamp_ns, "odom"), child_frame_id="base_link",
            pose=_type("geometry_msgs/msg/PoseWithCovariance")(pose=where, covariance=np.zeros(36)),
            twist=_type("geometry_msgs/msg/TwistWithCovariance")(twist=twist, covariance=np.zeros(36)),
        )  # fmt: skip
        records.append((topic, message))
    return records


def odometry_in_tf(poses: dict[int, np.ndarray]) -> list[Record]:
    """odom -> base_link, as each image is taken."""
    return [
        transform("/tf", "odom", "base_link", stamp_ns, odom_from_cam(world_from_cam) @ np.linalg.inv(BASE_FROM_CAM))
        for stamp_ns, world_from_cam in poses.items()
    ]


def mount() -> Record:
    return transform("/tf_static", "base_link", "cam", FRAME_NS, BASE_FROM_CAM)


def odom_from_cam(world_from_cam: np.ndarray) -> np.ndarray:
    return ODOM_FROM_WORLD @ world_from_cam


def transform(topic: str, parent: str, child: str, stamp_ns: int, parent_from_child: np.ndarray) -> Record:
    x, y, z = parent_from_child[:3, 3].tolist()
    edge = _type("geometry_msgs/msg/Transform")(
        translation=_type("geometry_msgs/msg/Vector3")(x=x, y=y, z=z), rotation=_quaternion(parent_from_child)
    )
    stamped = _type("geometry_msgs/msg/TransformStamped")(
        header=header(stamp_ns, parent), child_frame_id=child, transform=edge
    )
    return topic, _type("tf2_msgs/msg/TFMessage")(transforms=[stamped])


def write_bag(path: Path, *records: Record) -> Path:
    return bags.write(path, list(records))


def _quaternion(target_from_source: np.ndarray) -> Any:
    rotation = torch.from_numpy(np.ascontiguousarray(target_from_source[:3, :3]))
    x, y, z, w = quaternion_from_matrix(rotation).tolist()
    return _type("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)


def _type(name: str) -> Any:
    return STORE.types[name]
