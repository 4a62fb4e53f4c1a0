"""A building of corridors and rooms, made of boxes and rendered exactly, and ways through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIZE = (24, 32)  # height, width of pictures and maps
INTRINSICS = np.array([[24.0, 0.0, 16.0], [0.0, 24.0, 12.0], [0.0, 0.0, 1.0]])

CORRIDOR_M = 2.4
ROOM_M = 5.0
CEILING_M = 2.8
COLUMNS, ROWS = "crrcrc", "crrc"  # corridor or room, along x and y
WALL_M = 0.15
DOOR_M = 1.1
LINTEL_M = 2.1

TICK_NS = 20_000_000  # of the odometry: 50 Hz
SPEED = 1.0  # m/s
TURN_RATE = 0.8  # rad/s
LOOKAHEAD_M = 0.5


Point = tuple[float, float, float]
Box = tuple[Point, Point]  # lower and upper corner, metres


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
