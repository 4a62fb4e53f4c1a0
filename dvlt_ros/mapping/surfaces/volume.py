"""A truncated signed distance field in blocks, allocated where there are surfaces."""

from __future__ import annotations

import numpy as np

from ...errors import ConfigError

EDGE = 8  # voxels of a block along each axis
VOXEL_BITS = 9
VOXELS = EDGE**3
AXIS_BITS = 21  # of three axes in an int64
HALF = 1 << (AXIS_BITS - 1)  # blocks to each side of the origin
FIRST_ROOM = 256  # blocks
KEPT_SHARE = 0.95  # of a full volume: dropping one block at a time would need a pass over all of them each time
DISTANCE_UNIT = 32_000  # the truncation; halves would be converted several times more slowly than integers
WEIGHT_UNIT = 1000  # one observation from close by
MIN_WEIGHT = 1.25 * WEIGHT_UNIT  # of a voxel that mesh and grid know: more than one view has seen it
SURE_SUPPORT = 3  # views that must each have seen a surface in a voxel, whatever their mean is
BESIDE_SUPPORT = 2  # enough beside others that are sure
VIEWS_PER_SUPPORT = 4  # a map of fewer views than this times so many asks for no more support: five photos have a mesh
MAX_SUPPORT = 255
VISIBLE_CHANGE = 0.02 * DISTANCE_UNIT * 2 * EDGE**2  # of a block: two layers of its voxels by 2 % of the truncation
MAX_FREE_WEIGHT = 20.0 * WEIGHT_UNIT
FREE_BLOCKS = 4  # of them are kept per block with voxels, 12 bytes each
UNSEEN = 0  # the row of blocks that do not exist: never observed


class Volume:
    """Signed distances in units of the truncation: above 0 in free space, below 0 behind a surface. Not thread-safe.

    Blocks have a key, their place on the grid of blocks, and a row in the arrays below.
    """

    def __init__(self, voxel_size: float, max_blocks: int) -> None:
        if not (0 < voxel_size < np.inf and max_blocks >= 1):
            raise ConfigError(f"voxel_size and max_blocks must be above 0, got {voxel_size} and {max_blocks}")
        self.voxel_size, self.max_blocks = voxel_size, max_blocks
        self.num_views = 0
        self.keys = np.empty(0, np.int64)  # (B,), ascending
        self.rows = np.empty(0, np.int64)  # (B,), of each key
        self.distance = np.zeros((FIRST_ROOM, VOXELS), np.int16)  # in DISTANCE_UNIT
        self.weight = np.zeros((FIRST_ROOM, VOXELS), np.uint16)  # in WEIGHT_UNIT; 0: never observed
        self.support = np.zeros((FIRST_ROOM, VOXELS), np.uint8)  # views that each saw a surface there
        self.color = np.zeros((FIRST_ROOM, VOXELS, 3), np.uint8)
        self._free_keys = np.empty(0, np.int64)  # (F,), ascending: blocks without surfaces that were seen to be free
        self._free_weights = np.empty(0, np.float32)  # in WEIGHT_UNIT
        self.change = np.zeros(FIRST_ROOM)  # of each row's distances at its surface since `take_changed`, summed
        self._dropped: list[np.ndarray] = []  # keys, since then

    def __len__(self) -> int:
        """Blocks."""
        return len(self.keys)

    @property
    def num_bytes(self) -> int:
        """Of the arrays; they grow by doubling."""
        fields = (self.keys, self.rows, self.distance, self.weight, self.support, self.color, self.change)
        arrays: list[np.ndarray] = [*fields, self._free_keys, self._free_weights]
        return sum(array.nbytes for array in arrays)

    @property
    def block_size(self) -> float:
        return EDGE * self.voxel_size

    @property
    def free_keys(self) -> np.ndarray:
        """(F,) of blocks without voxels that more than one view has seen to be free."""
        return self._free_keys[self._free_weights >= MIN_WEIGHT]

    def rows_of(self, keys: np.ndarray) -> np.ndarray:
        """(...) int64 of keys (...); `UNSEEN` where there is no such block."""
        if not len(self.keys):
            return np.full(keys.shape, UNSEEN, np.int64)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.rows[places], UNSEEN)

    @property
    def sure_support(self) -> int:
        """Views that must each have seen a surface in a voxel: fewer as long as the map has few views."""
        return min(SURE_SUPPORT, 1 + self.num_views // VIEWS_PER_SUPPORT)

    @property
    def beside_support(self) -> int:
        """Enough beside voxels that are sure."""
        return min(BESIDE_SUPPORT, self.sure_support)

    def count_view(self) -> None:
        """One more view is about to be fused; where surfaces need more support from now on, all blocks have changed."""
        before = self.sure_support
        self.num_views += 1
        if self.sure_support != before:
            self.change[self.rows] += 2 * VISIBLE_CHANGE

    def believed(self, rows: np.ndarray) -> np.ndarray:
        """(R, 512) bool of rows (R,): voxels in which enough views have seen a surface, fewer beside others of a block.

        Nobody who walks is seen as often in one place, and a mean of one view that sees a surface with one that looks
        through is no surface.
        """
        support = self.support[rows]
        least = np.where(support.max(axis=1) >= self.sure_support, self.beside_support, self.sure_support)
        return np.asarray(support >= least[:, None])

    def allocate(self, keys: np.ndarray) -> None:
        """Adds those of the blocks, ascending, that do not exist yet; what was seen to be free begins as free space."""
        new = keys[self.rows_of(keys) == UNSEEN]
        if not len(new):
            return
        rows = 1 + len(self) + np.arange(len(new))  # the rows in use are always 1 to len(self)
        self._make_room(int(rows[-1]) + 1)
        places = np.searchsorted(self.keys, new)
        self.keys, self.rows = np.insert(self.keys, places, new), np.insert(self.rows, places, rows)
        _, was_free, in_new = np.intersect1d(self._free_keys, new, assume_unique=True, return_indices=True)
        self.distance[rows[in_new]] = DISTANCE_UNIT
        self.weight[rows[in_new]] = self._free_weights[was_free, None]
        self._free_keys = np.delete(self._free_keys, was_free)
        self._free_weights = np.delete(self._free_weights, was_free)

    def add_free(self, keys: np.ndarray, weights: np.ndarray) -> None:
        """Blocks (B,), ascending and without a row, that have been seen to be free, with this weight (B,)."""
        places = np.searchsorted(self._free_keys, keys)
        is_known = np.zeros(len(keys), bool)
        inside = places < len(self._free_keys)
        is_known[inside] = self._free_keys[places[inside]] == keys[inside]
        known, new = places[is_known], ~is_known
        self._free_weights[known] = np.minimum(self._free_weights[known] + weights[is_known], MAX_FREE_WEIGHT)
        self._free_keys = np.insert(self._free_keys, places[new], keys[new])
        self._free_weights = np.insert(self._free_weights, places[new], weights[new].astype(np.float32))

    def take_changed(self) -> np.ndarray:
        """(C,) keys of the blocks that have changed enough to be seen, or were dropped, since they were last taken."""
        is_changed = self.change[self.rows] > VISIBLE_CHANGE
        self.change[self.rows[is_changed]] = 0.0
        changed = np.concatenate([self.keys[is_changed], *self._dropped])
        self._dropped = []
        return np.unique(changed)

    def drop_farthest(self, position: np.ndarray) -> None:
        """Keeps ``max_blocks`` at most: the blocks farthest from a position (3,) in the map go."""
        if len(self._free_keys) > FREE_BLOCKS * self.max_blocks:
            near = np.square(self.centers(self._free_keys) - position).sum(axis=1).argsort(kind="stable")
            kept = np.sort(near[: int(KEPT_SHARE * FREE_BLOCKS * self.max_blocks)])
            self._free_keys, self._free_weights = self._free_keys[kept], self._free_weights[kept]
        if len(self) <= self.max_blocks:
            return
        distance = np.square(self.centers(self.keys) - position).sum(axis=1)
        order = np.argsort(distance, kind="stable")
        count = max(1, int(KEPT_SHARE * self.max_blocks))
        kept = np.sort(order[:count])
        self._dropped.append(self.keys[order[count:]])
        rows = self.rows[kept]
        for array in (self.distance, self.weight, self.support, self.color, self.change):
            array[1 : count + 1] = array[rows]  # the right side is a copy
            array[count + 1 : len(self) + 1] = 0
        self.keys, self.rows = self.keys[kept], 1 + np.arange(count)

    def centers(self, keys: np.ndarray) -> np.ndarray:
        """(B, 3) float64 in the map."""
        return (places_of(keys) + 0.5) * self.block_size

    def keys_at(self, points: np.ndarray) -> np.ndarray:
        """(B,) keys, ascending, of the blocks that hold finite points (N, 3) of the map."""
        places = np.floor(points / self.block_size)
        places = places[(np.abs(places) < HALF - 1).all(axis=1)].astype(np.int64)
        return np.unique(keys_of(places))

    def _make_room(self, count: int) -> None:
        room = len(self.distance)
        if count <= room:
            return
        more = max(count, 2 * room) - room
        self.distance, self.weight, self.support, self.color, self.change = (
            np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
            for array in (self.distance, self.weight, self.support, self.color, self.change)
        )


def keys_of(places: np.ndarray) -> np.ndarray:
    """(...) int64 of places (..., 3) on the grid of blocks."""
    shifted = places + HALF
    return (shifted[..., 0] << 2 * AXIS_BITS) | (shifted[..., 1] << AXIS_BITS) | shifted[..., 2]


def places_of(keys: np.ndarray) -> np.ndarray:
    """(..., 3) int64, the inverse of `keys_of`."""
    mask = (1 << AXIS_BITS) - 1
    return np.stack([keys >> 2 * AXIS_BITS, (keys >> AXIS_BITS) & mask, keys & mask], axis=-1) - HALF


def voxel_places() -> np.ndarray:
    """(512, 3) int64: place of each voxel in its block, in the order of the arrays (z fastest)."""
    axis = np.arange(EDGE)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
