"""A robot that drives through a building, with cameras and odometry.

The odometry has "2 % heading and lateral random walk",
which is taken to mean, with independent steps, so that all errors grow with the square root:

    heading   0.02 rad after 1 rad turned (2 % of it; 1.4 degrees after a right angle), and 0.002 rad after 1 m driven
    sideways  0.02 m after 1 m driven
    forward   0.005 m after 1 m driven, without bias: the odometry's metre is right

With a heading error of 0.02 rad per root metre instead, a robot would turn by 20 degrees in a corridor of 300 m: no
robot's odometry is that bad. The result of this odometry alone is printed beside every result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, OdometryHistory, interpolate
from simulation.building import INTRINSICS, SIZE, TICK_NS, Building, drive, make_building

BASE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
START_NS = 1_000_000_000
TICKS_PER_FRAME = 12  # about 4 frames a second
FRAME_OFFSET_NS = 7_000_000  # images come between two messages of the odometry


@dataclass(frozen=True)
class OdometryNoise:
    """Standard deviations after one radian or metre."""

    heading_per_turn: float = 0.02  # rad
    heading_per_metre: float = 0.002  # rad
    sideways: float = 0.02  # metres
    forward: float = 0.005  # metres


def simulate_odometry(planar: np.ndarray, noise: OdometryNoise, rng: np.random.Generator) -> np.ndarray:
    """x, y, yaw (T, 3) by odometry, from 0, of a true drive (T, 3)."""
    yaw = planar[:, 2]
    turn, step = np.diff(yaw), np.linalg.norm(np.diff(planar[:, :2], axis=0), axis=1)
    walk = noise.heading_per_turn**2 * np.abs(turn) + noise.heading_per_metre**2 * step
    turn = turn + np.sqrt(walk) * rng.normal(size=len(turn))
    forward = step + noise.forward * np.sqrt(step) * rng.normal(size=len(step))
    sideways = noise.sideways * np.sqrt(step) * rng.normal(size=len(step))
    heading = np.concatenate([[0.0], np.cumsum(turn)])
    c, s = np.cos(heading[1:]), np.sin(heading[1:])
    steps = np.stack([c * forward - s * sideways, s * forward + c * sideways], axis=1)
    return np.column_stack([np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), heading])


def planar_pose(x: float, y: float, yaw: float) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def mount(forward: float = 0.2, left: float = 0.0, up: float = 0.5, down_deg: float = 10.0) -> np.ndarray:
    """base_from_cam (4, 4), metres; the camera looks ahead and ``down_deg`` down."""
    angle = math.radians(down_deg)
    pitch = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    base_from_cam = np.eye(4)
    base_from_cam[:3, :3], base_from_cam[:3, 3] = pitch @ BASE_FROM_OPTICAL, (forward, left, up)
    return base_from_cam


ONE_CAMERA: Mapping[str, np.ndarray] = {"front": mount()}
TWO_CAMERAS: Mapping[str, np.ndarray] = {"left": mount(left=0.15), "right": mount(left=-0.15)}  # 0.3 m apart


@dataclass(frozen=True, eq=False)
class SimulatedRobot:
    """A drive with its ground truth and its odometry."""

    building: Building
    base_from_cam: Mapping[str, np.ndarray]  # by the camera's frame
    odometry_stamps_ns: np.ndarray  # (T,)
    world_from_base_at_odometry: np.ndarray  # (T, 4, 4)
    odom_from_base: np.ndarray  # (T, 4, 4)
    stamps_ns: np.ndarray  # (F,), of the images
    world_from_base: np.ndarray  # (F, 4, 4)
    _depths: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)  # that have been rendered

    @property
    def length_m(self) -> float:
        return float(np.linalg.norm(np.diff(self.world_from_base_at_odometry[:, :3, 3], axis=0), axis=1).sum())

    @cached_property
    def truth(self) -> dict[tuple[str, int], np.ndarray]:
        """world_from_cam (4, 4) by camera and stamp."""
        return {
            (name, int(stamp_ns)): world_from_base @ base_from_cam
            for stamp_ns, world_from_base in zip(self.stamps_ns, self.world_from_base, strict=True)
            for name, base_from_cam in self.base_from_cam.items()
        }

    def depth(self, key: tuple[str, int]) -> np.ndarray:
        """(H, W), metres, of a camera at a stamp."""
        if key not in self._depths:
            self._depths[key] = self.building.depth(self.truth[key])
        return self._depths[key]

    def frames(self) -> list[Frame]:
        """Of all cameras, in order of time; pictures of noise, so that every one differs from the one before."""
        return [self._frame(name, stamp_ns) for stamp_ns in self.stamps_ns.tolist() for name in self.base_from_cam]

    def _frame(self, name: str, stamp_ns: int) -> Frame:
        def load() -> Picture:
            image = np.random.default_rng(stamp_ns).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
            return Picture(image, INTRINSICS)

        return Frame(stamp_ns, name, stamp_ns, load, camera=name)

    def camera_in_odom(self, stamp_ns: int, frame_id: str) -> CameraInOdom:
        """Odometry and mount."""
        found = self.odometry.at(stamp_ns)
        return CameraInOdom(found.odom_from_base @ self.base_from_cam[frame_id], found.epoch)

    @cached_property
    def odometry(self) -> OdometryHistory:
        """All messages of the odometry."""
        history = OdometryHistory(max_samples=len(self.odometry_stamps_ns))
        for stamp_ns, pose in zip(self.odometry_stamps_ns.tolist(), self.odom_from_base, strict=True):
            history.add(stamp_ns, pose)
        return history

    def revisits(self, min_frames: int = 100, max_m: float = 1.0, max_deg: float = 20.0) -> list[tuple[int, int]]:
        """Pairs of images (earlier, later) from nearly the same pose, at least ``min_frames`` apart."""
        position, forward = self.world_from_base[:, :2, 3], self.world_from_base[:, :2, 0]
        near = np.linalg.norm(position[:, None] - position[None], axis=-1) < max_m
        near &= forward @ forward.T > math.cos(math.radians(max_deg))
        return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(near, k=min_frames)), strict=True)]


def make_robot(
    seed: int,
    length_m: float,
    cameras: Mapping[str, np.ndarray] = ONE_CAMERA,
    odometry_noise: OdometryNoise = OdometryNoise(),
) -> SimulatedRobot:
    """A drive of ``length_m`` through a building of its own."""
    rng = np.random.default_rng(seed)
    return send(make_building(rng), rng, length_m, cameras, odometry_noise)


def send(
    building: Building,
    rng: np.random.Generator,
    length_m: float,
    cameras: Mapping[str, np.ndarray] = ONE_CAMERA,
    odometry_noise: OdometryNoise = OdometryNoise(),
    begin: int = 0,
    start_ns: int = START_NS,
) -> SimulatedRobot:
    """A robot through a building, from one of its places on."""
    return along(building, drive(building, rng, length_m, begin), rng, cameras, odometry_noise, start_ns)


def along(
    building: Building,
    planar: np.ndarray,
    rng: np.random.Generator,
    cameras: Mapping[str, np.ndarray] = ONE_CAMERA,
    odometry_noise: OdometryNoise = OdometryNoise(),
    start_ns: int = START_NS,
) -> SimulatedRobot:
    """A robot that drives along x, y, yaw (T, 3), one row a tick."""
    world_from_base = np.stack([planar_pose(*row) for row in planar])
    odom_from_base = np.stack([planar_pose(*row) for row in simulate_odometry(planar, odometry_noise, rng)])
    at = range(0, len(planar) - 1, TICKS_PER_FRAME)
    between = [interpolate(world_from_base[i], world_from_base[i + 1], FRAME_OFFSET_NS / TICK_NS) for i in at]
    return SimulatedRobot(
        building, cameras, start_ns + TICK_NS * np.arange(len(planar)), world_from_base, odom_from_base,
        start_ns + TICK_NS * np.array(at) + FRAME_OFFSET_NS, np.stack(between),
    )  # fmt: skip
