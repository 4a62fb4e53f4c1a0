"""A robot that drives through a building of corridors and rooms, with cameras and odometry.

The building is made of boxes and rendered exactly. The odometry has "2 % heading and lateral random walk",
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

SIZE = (24, 32)  # height, width of pictures and maps
INTRINSICS = np.array([[24.0, 0.0, 16.0], [0.0, 24.0, 12.0], [0.0, 0.0, 1.0]])
BASE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

CORRIDOR_M = 2.4
ROOM_M = 5.0
CEILING_M = 2.8
COLUMNS, ROWS = "crrcrc", "crrc"  # corridor or room, along x and y
WALL_M = 0.15
DOOR_M = 1.1
LINTEL_M = 2.1

START_NS = 1_000_000_000
TICK_NS = 20_000_000  # of the odometry: 50 Hz
TICKS_PER_FRAME = 12  # about 4 frames a second
FRAME_OFFSET_NS = 7_000_000  # images come between two messages of the odometry
SPEED = 1.0  # m/s
TURN_RATE = 0.8  # rad/s
LOOKAHEAD_M = 0.5


Point = tuple[float, float, float]
Box = tuple[Point, Point]  # lower and upper corner, metres


@dataclass(frozen=True)
class OdometryNoise:
    """Standard deviations after one radian or metre."""

    heading_per_turn: float = 0.02  # rad
    heading_per_metre: float = 0.002  # rad
    sideways: float = 0.02  # metres
    forward: float = 0.005  # metres


@dataclass(frozen=True, eq=False)
class Building:
    boxes: np.ndarray  # (B, 2, 3) float32, lower and upper corners, metres
    places: np.ndarray  # (N, 2), middle of every cell
    neighbours: tuple[tuple[int, ...], ...]  # of every cell, through doors and along corridors

    def moved(self, x_m: float) -> Building:
        """Somewhere else in the world."""
        by = np.array([x_m, 0, 0], np.float32)
        return Building(self.boxes + by, self.places + by[:2], self.neighbours)

    def depth(self, world_from_cam: np.ndarray) -> np.ndarray:
        """(H, W) float32, metres along the optical axis."""
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        pixels = np.stack([columns, rows, np.ones(SIZE)], axis=-1).reshape(-1, 3)
        direction = (pixels @ np.linalg.inv(INTRINSICS).T @ world_from_cam[:3, :3].T).astype(np.float32)
        direction = np.where(np.abs(direction) < 1e-6, np.float32(1e-6), direction)
        planes = (self.boxes - world_from_cam[:3, 3].astype(np.float32))[:, :, None] / direction
        enter, leave = planes.min(axis=1).max(axis=-1), planes.max(axis=1).min(axis=-1)  # (B, pixels)
        return np.where((enter < leave) & (enter > 0), enter, np.inf).min(axis=0).reshape(SIZE)


def make_building(rng: np.random.Generator) -> Building:
    """22 m by 15 m: a ring of corridors with one across, and six rooms with furniture in their corners."""
    x, y = (np.cumsum([0, *(CORRIDOR_M if kind == "c" else ROOM_M for kind in plan)]) for plan in (COLUMNS, ROWS))
    width, depth = float(x[-1]), float(y[-1])
    boxes: list[Box] = [
        ((-1, -1, -1), (width + 1, depth + 1, 0)),
        ((-1, -1, CEILING_M), (width + 1, depth + 1, CEILING_M + 1)),
    ]
    boxes += [((-1, -1, 0), (0, depth + 1, 3)), ((width, -1, 0), (width + 1, depth + 1, 3))]
    boxes += [((-1, -1, 0), (width + 1, 0, 3)), ((-1, depth, 0), (width + 1, depth + 1, 3))]
    cells = [(i, j) for i in range(len(COLUMNS)) for j in range(len(ROWS))]
    is_room = {(i, j): COLUMNS[i] == ROWS[j] == "r" for i, j in cells}
    neighbours: dict[tuple[int, int], list[int]] = {cell: [] for cell in cells}
    for i, j in cells:
        for other in ((i + 1, j), (i, j + 1)):
            if other not in is_room:
                continue
            if not is_room[i, j] or not is_room[other]:
                neighbours[i, j].append(cells.index(other))
                neighbours[other].append(cells.index((i, j)))
            if is_room[i, j] or is_room[other]:
                span = (x[i + 1], y[j], y[j + 1], 0) if other[0] > i else (y[j + 1], x[i], x[i + 1], 1)
                boxes += _wall(*span, has_door=not (is_room[i, j] and is_room[other]))
        if is_room[i, j]:
            boxes += _furniture(rng, x[i], y[j])
    places = np.array([((x[i] + x[i + 1]) / 2, (y[j] + y[j + 1]) / 2) for i, j in cells])
    return Building(np.array(boxes, np.float32), places, tuple(tuple(neighbours[cell]) for cell in cells))


def _wall(at: float, start: float, end: float, axis: int, has_door: bool) -> list[Box]:
    """Boxes of a wall across ``axis``, with a door in its middle."""
    middle, half = (start + end) / 2, DOOR_M / 2
    parts = [(start, end, 0.0)]
    if has_door:
        parts = [(start, middle - half, 0.0), (middle + half, end, 0.0), (middle - half, middle + half, LINTEL_M)]
    found = []
    for low, high, bottom in parts:
        near, far = at - WALL_M / 2, at + WALL_M / 2
        across: Box = ((near, low, bottom), (far, high, CEILING_M))
        along: Box = ((low, near, bottom), (high, far, CEILING_M))
        found.append(along if axis else across)
    return found


def _furniture(rng: np.random.Generator, x: float, y: float) -> list[Box]:
    """A box in every corner of a room; the way to the doors stays free."""
    boxes: list[Box] = []
    for right in (0, 1):
        for upper in (0, 1):
            dx, dy, height = rng.uniform((0.3, 0.3, 0.4), (1.5, 1.5, 2.2))
            left, low = x + right * (ROOM_M - dx), y + upper * (ROOM_M - dy)
            boxes.append(((left, low, 0.0), (left + dx, low + dy, height)))
    return boxes


def drive(building: Building, rng: np.random.Generator, length_m: float, begin: int = 0) -> np.ndarray:
    """x, y, yaw (T, 3) at every tick of a robot that wanders from place to place, turning on the spot if it must."""
    way = _wander(building, rng, length_m + 10, begin)
    (x, y), yaw = way[0], math.atan2(*(way[1] - way[0])[::-1])
    ticks = [(x, y, yaw)]
    driven_m = 0.0
    ahead = 0
    while driven_m < length_m:
        while math.hypot(way[ahead][0] - x, way[ahead][1] - y) < LOOKAHEAD_M:
            ahead += 1
        bearing = math.atan2(way[ahead][1] - y, way[ahead][0] - x)
        error = (bearing - yaw + math.pi) % (2 * math.pi) - math.pi
        step_m = SPEED * max(0.0, math.cos(error)) ** 2 * TICK_NS * 1e-9
        yaw += max(-TURN_RATE, min(TURN_RATE, 2.5 * error)) * TICK_NS * 1e-9
        x += step_m * math.cos(yaw)
        y += step_m * math.sin(yaw)
        driven_m += step_m
        ticks.append((x, y, yaw))
    return np.array(ticks)


def _wander(building: Building, rng: np.random.Generator, length_m: float, begin: int) -> np.ndarray:
    """Points (N, 2) every 5 cm from place to place; back only where there is no other way."""
    before, at = -1, begin
    points = [building.places[begin]]
    walked_m = 0.0
    while walked_m < length_m:
        ways = [place for place in building.neighbours[at] if place != before] or [before]
        before, at = at, int(rng.choice(ways))
        leg_m = float(np.linalg.norm(building.places[at] - building.places[before]))
        share = np.arange(1, round(leg_m / 0.05) + 1)[:, None] / round(leg_m / 0.05)
        points += list((1 - share) * building.places[before] + share * building.places[at])
        walked_m += leg_m
    return np.array(points)


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
    planar = drive(building, rng, length_m, begin)
    world_from_base = np.stack([planar_pose(*row) for row in planar])
    odom_from_base = np.stack([planar_pose(*row) for row in simulate_odometry(planar, odometry_noise, rng)])
    at = range(0, len(planar) - 1, TICKS_PER_FRAME)
    between = [interpolate(world_from_base[i], world_from_base[i + 1], FRAME_OFFSET_NS / TICK_NS) for i in at]
    return SimulatedRobot(
        building, cameras, start_ns + TICK_NS * np.arange(len(planar)), world_from_base, odom_from_base,
        start_ns + TICK_NS * np.array(at) + FRAME_OFFSET_NS, np.stack(between),
    )  # fmt: skip
