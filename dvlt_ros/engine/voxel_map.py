"""A bounded cloud: one point per voxel, the confidence-weighted mean of all that fell into it."""

from __future__ import annotations

import numpy as np

from ..errors import ConfigError

AXIS_BITS = 21  # three axes in an int64: a million voxels to each side of the origin
HALF = 1 << (AXIS_BITS - 1)
MAX_WEIGHT = 1000.0  # a voxel stays able to change
PENDING_POINTS = 200_000  # merged at once: sorting is cheaper in bulk


class VoxelMap:
    """Not thread-safe. Positions beyond a million voxels from the origin are left out."""

    def __init__(self, voxel_size: float, max_points: int) -> None:
        if not voxel_size > 0 or max_points < 1:
            raise ConfigError(f"voxel_size and max_points must be above 0, got {voxel_size} and {max_points}")
        self.voxel_size, self.max_points = voxel_size, max_points
        self.clear()

    def clear(self) -> None:
        self._keys = np.empty(0, np.int64)  # sorted
        self._sums = np.empty((0, 7))  # weighted x y z r g b, weight
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_pending = 0
        self._camera = np.zeros(3)

    def __len__(self) -> int:
        self._merge()
        return len(self._keys)

    def add(self, points: np.ndarray, colors: np.ndarray, weights: np.ndarray, camera_position: np.ndarray) -> None:
        """points (N, 3) in the map, colors (N, 3) uint8, weights (N,) above 0; rows that are not finite do not count.

        When the map is full, the voxels farthest from ``camera_position`` (3,) leave first.
        """
        cells = np.floor(points / self.voxel_size)
        with np.errstate(invalid="ignore"):
            usable = (np.abs(cells) < HALF).all(axis=-1) & np.isfinite(weights) & (weights > 0)
        cells = cells[usable].astype(np.int64) + HALF
        keys = (cells[:, 0] << 2 * AXIS_BITS) | (cells[:, 1] << AXIS_BITS) | cells[:, 2]
        weight = weights[usable, None].astype(np.float64)
        values = np.concatenate([points[usable] * weight, colors[usable] * weight, weight], axis=-1)
        self._pending.append((keys, values))
        self._num_pending += len(keys)
        self._camera = np.array(camera_position, dtype=np.float64)
        if self._num_pending >= PENDING_POINTS:
            self._merge()

    def cloud(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (N, 3) float32, colours (N, 3) uint8 and accumulated confidence (N,) float32."""
        self._merge()
        weight = self._sums[:, 6:]
        colors = np.rint(self._sums[:, 3:6] / weight).astype(np.uint8)
        return (self._sums[:, :3] / weight).astype(np.float32), colors, weight[:, 0].astype(np.float32)

    def _merge(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pending)])
        sums = np.concatenate([self._sums, *(values for _, values in self._pending)])
        self._pending, self._num_pending = [], 0
        order = np.argsort(keys, kind="stable")
        keys, sums = keys[order], sums[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys, self._sums = keys[starts], np.add.reduceat(sums, starts) if len(starts) else sums
        self._sums *= np.minimum(1.0, MAX_WEIGHT / self._sums[:, 6:])
        if len(self._keys) > self.max_points:
            distance = np.linalg.norm(self._sums[:, :3] / self._sums[:, 6:] - self._camera, axis=-1)
            near = np.sort(np.argpartition(distance, self.max_points)[: self.max_points])
            self._keys, self._sums = self._keys[near], self._sums[near]
