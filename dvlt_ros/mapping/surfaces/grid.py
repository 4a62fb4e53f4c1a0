"""The volume from above: which places a robot can stand on, as `nav_msgs/OccupancyGrid` and map_server have them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .fusion import AT_SURFACE, TRUNCATION
from .volume import DISTANCE_UNIT, EDGE, MIN_WEIGHT, UNSEEN, Volume, places_of

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
DOUBTFUL, LIKELY = 1, 2  # of a column: a surface that too few views agree on; enough only beside an occupied cell
SURFACE = AT_SURFACE * DISTANCE_UNIT / TRUNCATION
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
        self._cells = np.empty((0, EDGE, EDGE), np.int8)  # of each block's columns, beside the keys
        self._levels = np.empty((0, 2))  # number and mean height of each block's level surfaces
        self._keys = np.empty(0, np.int64)

    def follow(self, changed: np.ndarray, highest_floor: float) -> None:
        """``changed``: keys of blocks; ``highest_floor``: the floor is below it, as it is below the cameras."""
        self._carry_over()
        changed = changed[self._volume.rows_of(changed) != UNSEEN]
        places = np.searchsorted(self._keys, changed)
        low = places_of(changed)[:, 2] * self._volume.block_size < highest_floor
        self._levels[places[low]] = _levels(self._volume, changed[low])
        floor = self._find_floor(highest_floor)
        is_new = floor is not None and (self.floor is None or abs(floor - self.floor) > self._volume.voxel_size / 2)
        if is_new:
            self.floor, changed, places = floor, self._keys, np.arange(len(self._keys))
        if self.floor is not None:
            self._cells[places] = self._columns(changed, self.floor)

    def grid(self) -> Grid | None:
        """None: no floor has been seen, or nothing above it."""
        seen = np.flatnonzero((self._cells != UNKNOWN).any(axis=(1, 2)))
        if self.floor is None or not len(seen):
            return None
        places = places_of(self._keys[seen])[:, :2]
        starts = np.flatnonzero(np.diff(places, axis=0, prepend=places[:1] - 1).any(axis=1))  # of each pile of blocks
        piles, places = np.maximum.reduceat(self._cells[seen], starts), places[starts]
        lowest = places.min(axis=0)
        columns, rows = (places.max(axis=0) - lowest + 1).tolist()
        cells = np.full((columns, rows, EDGE, EDGE), UNKNOWN, np.int8)
        cells[tuple((places - lowest).T)] = piles
        block = self._volume.block_size
        from_above = cells.transpose(1, 3, 0, 2).reshape(rows * EDGE, columns * EDGE)
        return Grid(_decided(from_above), self._volume.voxel_size, (lowest[0] * block, lowest[1] * block), self.floor)

    def _carry_over(self) -> None:
        """Rows of blocks that still exist; empty ones for new blocks."""
        keys = self._volume.keys
        if len(keys) == len(self._keys) and (keys == self._keys).all():
            return
        _, old, new = np.intersect1d(self._keys, keys, assume_unique=True, return_indices=True)
        cells, levels = np.full((len(keys), EDGE, EDGE), UNKNOWN, np.int8), np.zeros((len(keys), 2))
        cells[new], levels[new] = self._cells[old], self._levels[old]
        self._cells, self._levels = cells, levels
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

    def _columns(self, keys: np.ndarray, floor: float) -> np.ndarray:
        """(B, 8, 8) int8 of the blocks: what each column says of its cell."""
        cells = np.full((len(keys), EDGE, EDGE), UNKNOWN, np.int8)
        above = _heights(self._volume, keys) - floor
        in_band = (above >= self.band.lowest) & (above <= self.band.highest)  # (B, 8), by the height of the voxel
        used = np.flatnonzero(in_band.any(axis=1))
        in_band, is_low = in_band[used], above[used] <= self.band.lowest + LOW_LAYERS * self._volume.voxel_size
        rows, shape = self._volume.rows_of(keys[used]), (len(used), EDGE, EDGE, EDGE)
        is_known = (self._volume.weight[rows] >= MIN_WEIGHT).reshape(shape) & in_band[:, None, None]
        is_below = (self._volume.distance[rows] < SURFACE).reshape(shape)
        is_surface = is_known & is_below
        is_free = (is_known & ~is_below & is_low[:, None, None]).any(axis=3)
        support = np.where(is_surface, self._volume.support[rows].reshape(shape), np.uint8(0)).max(axis=3)
        volume = self._volume
        is_likely, is_sure = support >= volume.beside_support, support >= volume.sure_support
        of_surface = np.where(is_sure, OCCUPIED, np.where(is_likely, LIKELY, DOUBTFUL))
        cells[used] = np.where(is_surface.any(axis=3), of_surface, np.where(is_free, FREE, UNKNOWN))
        return cells


def _decided(cells: np.ndarray) -> np.ndarray:
    """Likely cells are occupied beside an occupied one; else they are unknown, as doubtful ones are."""
    is_beside = cv2.dilate((cells == OCCUPIED).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    decided = np.where((cells == LIKELY) & is_beside, np.int8(OCCUPIED), cells)
    decided[(decided == LIKELY) | (decided == DOUBTFUL)] = UNKNOWN
    return decided


def _heights(volume: Volume, keys: np.ndarray) -> np.ndarray:
    """(B, 8): heights of the centres of the layers of voxels of blocks."""
    heights: np.ndarray = (EDGE * places_of(keys)[:, 2:] + np.arange(EDGE) + 0.5) * volume.voxel_size
    return heights


def _levels(volume: Volume, keys: np.ndarray) -> np.ndarray:
    """(B, 2): number of columns in which free space lies on a surface, and its mean height."""
    rows, above = volume.rows_of(keys), volume.rows_of(keys + 1)
    shape = (len(keys), EDGE, EDGE, EDGE)
    distance, weight = (
        np.concatenate([values[rows].reshape(shape), values[above].reshape(shape)[..., :1]], axis=3)
        for values in (volume.distance, volume.weight)
    )
    is_known, is_inside = weight >= MIN_WEIGHT, distance < 0
    is_crossed = is_inside[..., :-1] & ~is_inside[..., 1:] & is_known[..., :-1] & is_known[..., 1:]
    block, x, y, layer = np.nonzero(is_crossed)
    below, over = (distance[block, x, y, z].astype(np.float64) for z in (layer, layer + 1))
    height = _heights(volume, keys)[block, layer] + below / (below - over) * volume.voxel_size
    count = np.bincount(block, minlength=len(keys))
    return np.column_stack([count, np.bincount(block, height, len(keys)) / np.maximum(count, 1)])
