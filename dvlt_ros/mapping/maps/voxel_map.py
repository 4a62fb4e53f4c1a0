"""A cloud of bounded size: one point per voxel, the confidence-weighted mean of all points in it."""

from __future__ import annotations

import numpy as np

from ...errors import ConfigError
from ..data.frames import Cloud

AXIS_BITS = 21  # three axes in an int64: a million voxels to each side of the origin
HALF = 1 << (AXIS_BITS - 1)
MAX_WEIGHT = 1000.0  # new points keep changing a voxel's mean
FIRST_ROOM = 1024  # voxels
KEPT_SHARE = 0.95  # of a full map: dropping one voxel at a time would need a pass over all of them each time


class VoxelMap:
    """Not thread-safe. Positions beyond a million voxels from the origin are left out.

    Only the keys and row numbers are sorted, the means are not: inserting a voxel moves 12 bytes of each later one.
    """

    def __init__(self, voxel_size: float, max_points: int) -> None:
        if not (0 < voxel_size < np.inf and max_points >= 1):
            raise ConfigError(f"voxel_size and max_points must be above 0, got {voxel_size} and {max_points}")
        self.voxel_size, self.max_points = voxel_size, max_points
        self._keys = np.empty(0, np.int64)  # sorted
        self._rows = np.empty(0, np.int32)  # of each key in _means
        self._means = np.empty((FIRST_ROOM, 7), np.float32)  # x y z, r g b, weight; len(self) of them in use
        self._submap_ids = np.empty(FIRST_ROOM, np.int32)  # beside the means

    @property
    def submap_ids(self) -> np.ndarray:
        """(V,) int32: the first submap of each point of the cloud."""
        return self._submap_ids[: len(self)].copy()

    def __len__(self) -> int:
        return len(self._keys)

    def add(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        weights: np.ndarray,
        camera_position: np.ndarray,
        submap_ids: np.ndarray | int = 0,
    ) -> None:
        """points (N, 3) in the map, colors (N, 3) uint8, weights (N,) above 0; rows that are not finite are left out.

        When the map is full, the voxels farthest from ``camera_position`` (3,) are dropped. ``submap_ids``: of each
        point (N,), or one of all; a voxel keeps its first one.
        """
        keys, sums, sources = self._by_voxel(points, colors, weights)
        places = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), bool)
        inside = places < len(self._keys)
        known[inside] = self._keys[places[inside]] == keys[inside]
        old, new = np.flatnonzero(known), np.flatnonzero(~known)  # a mask would hold the interpreter's lock
        self._update(self._rows[places[old]], keys[old], sums[old])
        self._append(places[new], keys[new], sums[new], np.broadcast_to(submap_ids, len(points))[sources[new]])
        if len(self) > self.max_points:
            self._make_room(np.asarray(camera_position, np.float32))

    def move(self, rows: np.ndarray, points: np.ndarray, camera_position: np.ndarray) -> None:
        """Moves the cloud's points at rows (M,) to points (M, 3); the others stay as they are.

        Where points come together, the voxel keeps the submap of the one that was there.
        """
        if not len(rows):
            return
        cloud, submap_ids = self.cloud(), self._submap_ids[rows]
        stays = np.ones(len(self), bool)
        stays[rows] = False
        self.keep(stays)
        self.add(points, cloud.colors[rows], cloud.confidence[rows], camera_position, submap_ids)

    def cloud(self) -> Cloud:
        """One point per voxel, with its accumulated confidence."""
        means = self._means[: len(self)]
        return Cloud(means[:, :3].copy(), np.rint(means[:, 3:6]).astype(np.uint8), means[:, 6].copy())

    def _by_voxel(
        self, points: np.ndarray, colors: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sorted unique keys (V,), weighted sums (V, 7) of x y z, r g b and the weight, and one row of each (V,)."""
        cells = self._cells(points)
        usable = np.flatnonzero((np.abs(cells) < HALF).all(axis=-1) & np.isfinite(weights) & (weights > 0))  # no NaN
        cells = cells[usable].astype(np.int64) + HALF
        keys = (cells[:, 0] << 2 * AXIS_BITS) | (cells[:, 1] << AXIS_BITS) | cells[:, 2]
        order = np.argsort(keys)
        keys, rows = keys[order], usable[order]
        values = np.empty((len(rows), 7))
        values[:, :3] = points[rows]
        values[:, 3:6] = colors[rows]
        values[:, 6] = 1.0
        values *= weights[rows, None]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        if not len(starts):
            return keys, values, rows
        sums = [
            np.add.reduceat(column, starts) for column in values.T
        ]  # column by column: each call holds the interpreter's lock
        return keys[starts], np.stack(sums, axis=1), rows[starts]

    def _cells(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) float64 whole numbers of voxels from the origin."""
        return np.floor(np.asarray(points, np.float64) / self.voxel_size)

    def _inside(self, means: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Means (V, 3) in single precision, each in its voxel: rounding may take one across a border."""
        rounded = means.astype(np.float32)
        mask = (1 << AXIS_BITS) - 1
        cells = np.stack([(keys >> shift & mask) - HALF for shift in (2 * AXIS_BITS, AXIS_BITS, 0)], axis=1)
        across = (self._cells(rounded) - cells).astype(np.float32)
        out = np.flatnonzero(across.any(axis=1))
        back = np.where(across[out], np.copysign(np.inf, -across[out]), rounded[out])
        rounded[out] = np.nextafter(rounded[out], back.astype(np.float32))
        return rounded

    def _update(self, rows: np.ndarray, keys: np.ndarray, sums: np.ndarray) -> None:
        """Voxels that the map has: the mean moves by the new points' share of the weight."""
        old, weight = self._means[rows].astype(np.float64), sums[:, 6:]
        total = old[:, 6:] + weight
        old[:, :6] += (sums[:, :6] - weight * old[:, :6]) / total
        self._means[rows, :3] = self._inside(old[:, :3], keys)
        self._means[rows, 3:6] = old[:, 3:6]
        self._means[rows, 6] = np.minimum(total[:, 0], MAX_WEIGHT)

    def _append(self, places: np.ndarray, keys: np.ndarray, sums: np.ndarray, submap_ids: np.ndarray) -> None:
        """New voxels; ``places`` (V,) are the insertion points of their keys."""
        first, last = len(self), len(self) + len(keys)
        if last > len(self._means):
            self._means = np.concatenate([self._means, np.empty((last, 7), np.float32)])
            self._submap_ids = np.concatenate([self._submap_ids, np.empty(last, np.int32)])
        means = sums[:, :6] / sums[:, 6:]
        self._means[first:last, :3] = self._inside(means[:, :3], keys)
        self._means[first:last, 3:6] = means[:, 3:]
        self._means[first:last, 6] = np.minimum(sums[:, 6], MAX_WEIGHT)
        self._submap_ids[first:last] = submap_ids
        self._keys = np.insert(self._keys, places, keys)
        self._rows = np.insert(self._rows, places, np.arange(first, last, dtype=np.int32))

    def _make_room(self, camera_position: np.ndarray) -> None:
        number = max(1, int(KEPT_SHARE * self.max_points))
        offsets = self._means[: len(self), :3] - camera_position
        kept = np.zeros(len(self), bool)
        kept[np.argpartition(np.einsum("ij,ij->i", offsets, offsets), number)[:number]] = True
        self.keep(kept)

    def keep(self, kept: np.ndarray) -> None:
        """Drops all voxels but these (V,), in the order of the cloud's points."""
        number = int(kept.sum())
        self._means[:number] = self._means[: len(self)][kept]
        self._submap_ids[:number] = self._submap_ids[: len(self)][kept]
        row_after = np.cumsum(kept, dtype=np.int32) - 1
        alive = kept[self._rows]
        self._keys, self._rows = self._keys[alive], row_after[self._rows[alive]]
