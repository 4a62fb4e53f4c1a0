"""The volume from above: which places a robot can stand on, as `nav_msgs/OccupancyGrid` and map_server have them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fusion import TRUNCATION
from .volume import DISTANCE_UNIT, EDGE, MIN_WEIGHT, UNSEEN, Volume, places_of

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
SURFACE = 0.5 * DISTANCE_UNIT / TRUNCATION  # the surface passes through a voxel whose centre is half of one before it
LOW_LAYERS = 4  # a free cell is seen to be free as low as this many voxels above the lowest height
FLOOR_SHARE = 0.2  # the lowest of all level surfaces with this share of the largest one is the floor
FLOOR_BIN = 2.0  # voxels


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells of the map's x and y; row 0 is at the lowest y."""

    cells: np.ndarray  # (rows, columns) int8: -1 unknown, 0 free, 100 occupied
    resolution: float  # edge of a cell
    origin: tuple[float, float]  # x, y of the corner of cell (0, 0)
    floor: float  # height of the floor in the map


@dataclass(frozen=True)
class Band:
    """Heights above the floor in which things are obstacles."""

    lowest: float
    highest: float


class GridBuilder:
    """Follows the volume: only columns of changed blocks are looked through again."""

    def __init__(self, volume: Volume, band: Band) -> None:
        self.band = band
        self.floor: float | None = None  # height in the map; None: no floor has been seen
        self._volume = volume
        self._is_free = np.zeros((0, EDGE, EDGE), bool)  # of each block's columns, beside the keys
        self._is_occupied = np.zeros((0, EDGE, EDGE), bool)
        self._levels = np.zeros((0, 2))  # number and mean height of each block's level surfaces
        self._keys = np.empty(0, np.int64)

    def follow(self, changed: np.ndarray, highest_floor: float) -> None:
        """``changed``: keys of blocks; ``highest_floor``: the floor is below it, as it is below the cameras."""
        self._carry_over()
        changed = changed[self._volume.rows_of(changed) != UNSEEN]
        places = np.searchsorted(self._keys, changed)
        self._levels[places] = _levels(self._volume, changed)
        floor = self._find_floor(highest_floor)
        is_new = floor is not None and (self.floor is None or abs(floor - self.floor) > self._volume.voxel_size / 2)
        if is_new:
            self.floor, changed, places = floor, self._keys, np.arange(len(self._keys))
        if self.floor is not None:
            columns = self._columns(changed, self.floor)
            self._is_free[places], self._is_occupied[places] = columns

    def grid(self) -> Grid | None:
        """None: no floor has been seen, or nothing above it."""
        seen = np.flatnonzero((self._is_free | self._is_occupied).any(axis=(1, 2)))
        if self.floor is None or not len(seen):
            return None
        places = places_of(self._keys[seen])
        lowest = places.min(axis=0)
        columns, rows = (places.max(axis=0) - lowest + 1)[:2].tolist()
        is_free, is_occupied = (np.zeros((columns, rows, EDGE, EDGE), bool) for _ in range(2))
        for height in np.unique(places[:, 2]):
            layer = places[:, 2] == height
            at = tuple((places[layer] - lowest)[:, :2].T)
            is_free[at] |= self._is_free[seen[layer]]
            is_occupied[at] |= self._is_occupied[seen[layer]]
        cells = np.full(is_free.shape, UNKNOWN, np.int8)
        cells[is_free], cells[is_occupied] = FREE, OCCUPIED
        block = self._volume.block_size
        from_above = cells.transpose(1, 3, 0, 2).reshape(rows * EDGE, columns * EDGE)
        return Grid(from_above, self._volume.voxel_size, (lowest[0] * block, lowest[1] * block), self.floor)

    def _carry_over(self) -> None:
        """Rows of blocks that still exist; empty ones for new blocks."""
        keys = self._volume.keys
        if len(keys) == len(self._keys) and (keys == self._keys).all():
            return
        _, old, new = np.intersect1d(self._keys, keys, assume_unique=True, return_indices=True)
        for name in ("_is_free", "_is_occupied", "_levels"):
            before = getattr(self, name)
            after = np.zeros((len(keys), *before.shape[1:]), before.dtype)
            after[new] = before[old]
            setattr(self, name, after)
        self._keys = keys.copy()

    def _find_floor(self, highest: float) -> float | None:
        """The lowest level surface that is large, below the cameras."""
        area, heights = self._levels.T
        below = (area > 0) & (heights < highest)
        area, heights = area[below], heights[below]
        if not len(area):
            return None
        bins = np.floor(heights / (FLOOR_BIN * self._volume.voxel_size)).astype(np.int64)
        sums = np.bincount(bins - bins.min(), area)
        sums = np.convolve(sums, [1, 1], "full")[: len(sums) + 1]  # a floor at the border of two bins is in both
        first = int(np.flatnonzero(sums >= FLOOR_SHARE * sums.max())[0]) + bins.min()
        of_floor = (bins >= first - 1) & (bins <= first + 1)
        order = np.argsort(heights[of_floor])
        half = np.cumsum(area[of_floor][order])
        return float(heights[of_floor][order][np.searchsorted(half, half[-1] / 2)])

    def _columns(self, keys: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
        """Whether each column (B, 8, 8) of the blocks is free and whether it is occupied."""
        volume, (rows, heights) = self._volume, _heights(self._volume, keys)
        above = heights - floor
        in_band = (above >= self.band.lowest) & (above <= self.band.highest)  # (B, 8), by the height of the voxel
        is_low = in_band & (above <= self.band.lowest + LOW_LAYERS * volume.voxel_size)
        shape = (len(keys), EDGE, EDGE, EDGE)
        distance = volume.distance[rows].reshape(shape)
        is_known = (volume.weight[rows] >= MIN_WEIGHT).reshape(shape)
        is_surface = is_known & (distance < SURFACE)
        is_free = is_known & ~is_surface & is_low[:, None, None]
        return is_free.any(axis=3), (is_surface & in_band[:, None, None]).any(axis=3)


def _heights(volume: Volume, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (B,) of the blocks, and heights (B, 8) of the centres of their layers of voxels."""
    heights = (EDGE * places_of(keys)[:, 2:] + np.arange(EDGE) + 0.5) * volume.voxel_size
    return volume.rows_of(keys), heights


def _levels(volume: Volume, keys: np.ndarray) -> np.ndarray:
    """(B, 2): number of columns in which free space lies on a surface, and its mean height."""
    rows, heights = _heights(volume, keys)
    above = volume.rows_of(keys + 1)
    shape = (len(keys), EDGE, EDGE, EDGE)
    distance, weight = (
        np.concatenate([values[rows].reshape(shape), values[above].reshape(shape)[..., :1]], axis=3)
        for values in (volume.distance, volume.weight)
    )
    is_known = weight >= MIN_WEIGHT
    below, over = distance[..., :-1].astype(np.float32), distance[..., 1:].astype(np.float32)
    crossed = (below < 0) & (over >= 0) & is_known[..., :-1] & is_known[..., 1:]
    share = np.where(crossed, below / np.minimum(below - over, -1), 0.0)  # of the way to the upper voxel
    height = np.where(crossed, heights[:, None, None] + share * volume.voxel_size, 0.0)
    count = crossed.sum(axis=(1, 2, 3))
    return np.column_stack([count, height.sum(axis=(1, 2, 3)) / np.maximum(count, 1)])
