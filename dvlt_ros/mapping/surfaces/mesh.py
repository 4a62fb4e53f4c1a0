"""The surface in the volume as triangles: naive surface nets (Gibson 1998), block by block.

Every cell between eight voxels through which the surface passes has one vertex, where the linear function closest to
the eight distances is zero. Every edge between two voxels that the surface crosses joins the vertices of its four
cells by two triangles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from .volume import DISTANCE_UNIT, EDGE, MIN_WEIGHT, UNSEEN, VOXEL_BITS, VOXELS, Volume, keys_of, places_of

PADDED, CELLS = EDGE + 2, EDGE + 1  # of a block with two layers of the blocks above it, and the cells between voxels
CORNERS = np.array(list(product((0, 1), repeat=3)))  # (8, 3); also a block and those above it that touch it
LAST = 7  # the corner (1, 1, 1)
STEPS = (CELLS * CELLS, CELLS, 1)  # from a cell to the next one along each axis
STEPS_PADDED = np.array([PADDED * PADDED, PADDED, 1])  # and from voxel to voxel
TRIANGLES_OF_QUAD = np.array([(0, 1, 2), (0, 2, 3)])
INSIDE, UNKNOWN, OUTSIDE = 1, 2, 4  # bits: what a voxel is, or all voxels of a cell
CROSSED = INSIDE | OUTSIDE


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a colour per vertex, in the map; their front looks into free space."""

    vertices: np.ndarray  # (V, 3) float32
    colors: np.ndarray  # (V, 3) uint8
    triangles: np.ndarray  # (T, 3) int32

    @property
    def num_bytes(self) -> int:
        return self.vertices.nbytes + self.colors.nbytes + self.triangles.nbytes

    @classmethod
    def together(cls, parts: list[Mesh]) -> Mesh:
        """All parts in one, as they are."""
        if not parts:
            return EMPTY
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        triangles = np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=True)])
        vertices = np.concatenate([part.vertices for part in parts])
        return cls(vertices, np.concatenate([part.colors for part in parts]), triangles.astype(np.int32))

    @classmethod
    def joined(cls, parts: list[Mesh]) -> Mesh:
        """All parts in one; equal vertices, at the borders of blocks, become one."""
        both = cls.together(parts)
        bits = np.ascontiguousarray(both.vertices).view(np.dtype((np.void, both.vertices.itemsize * 3))).reshape(-1)
        _, first, same = np.unique(bits, return_index=True, return_inverse=True)
        return cls(both.vertices[first], both.colors[first], same[both.triangles].astype(np.int32))


EMPTY = Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty((0, 3), np.int32))


@dataclass(eq=False)
class BlockMeshes:
    """The mesh of every block; only blocks near changed ones are computed again."""

    of_block: dict[int, Mesh] = field(default_factory=dict)

    def follow(self, volume: Volume, changed: np.ndarray) -> np.ndarray:
        """``changed``: keys; returns the keys (N,) of all blocks whose mesh may be another one now."""
        around = np.unique(keys_of(places_of(changed)[:, None] - CORNERS))
        for key in around.tolist():
            self.of_block.pop(key, None)
        self.of_block |= extract(volume, around[volume.rows_of(around) != UNSEEN])
        return around

    @property
    def num_bytes(self) -> int:
        return sum(mesh.num_bytes for mesh in self.of_block.values())

    @property
    def mesh(self) -> Mesh:
        return Mesh.joined(list(self.of_block.values()))


def extract(volume: Volume, keys: np.ndarray) -> dict[int, Mesh]:
    """The meshes of those of the blocks that have any, by key; the vertices at a border are the neighbour's, too."""
    rows, above = np.unique(volume.rows_of(keys_of(places_of(keys)[:, None] + CORNERS)), return_inverse=True)
    above = above.reshape(-1, 8)  # of each block and those above it, in `rows`
    sides = _sides(volume, rows)
    of_block = np.bitwise_or.reduce(sides, axis=1)
    is_crossed = np.bitwise_or.reduce(of_block[above], axis=1) & CROSSED == CROSSED
    keys, at = keys[is_crossed], _padded_index(above[is_crossed])
    cells = _crossed_cells(sides.reshape(-1).take(at))
    if not len(cells):
        return {}
    block, x, y, z = np.unravel_index(cells, (len(keys), CELLS, CELLS, CELLS))
    places = np.stack([x, y, z], axis=1)  # (N, 3) in the block
    first = block * PADDED**3 + places @ STEPS_PADDED
    corners = at.reshape(-1).take(first[:, None] + CORNERS @ STEPS_PADDED)  # (N, 8)
    corners = rows.take(corners >> VOXEL_BITS) * VOXELS + (corners & (VOXELS - 1))  # in the volume's flat arrays
    values = volume.distance.reshape(-1).take(corners)
    vertices = _vertices(values / np.float32(DISTANCE_UNIT)) + places + 0.5  # in voxels, from the block's corner
    nearest = np.abs(values).argmin(axis=1)
    colors = volume.color.reshape(-1, 3).take(corners[np.arange(len(corners)), nearest], axis=0)
    points = volume.voxel_size * (EDGE * places_of(keys)[block] + vertices)
    is_own = places.max(axis=1) < EDGE
    of_triangle, triangles = _triangles(values < 0, cells, block, is_own)
    return _by_block(keys, block, points.astype(np.float32), colors, of_triangle, triangles)


def _sides(volume: Volume, rows: np.ndarray) -> np.ndarray:
    """(R, 512) uint8 of rows (R,): on which side of the surface each voxel is."""
    sides = np.where(volume.distance[rows] < 0, np.uint8(INSIDE), np.uint8(OUTSIDE))
    sides[volume.weight[rows] < MIN_WEIGHT] = UNKNOWN
    sides[(sides == INSIDE) & ~volume.believed(rows)] = UNKNOWN
    return sides


def _padded_index(above: np.ndarray) -> np.ndarray:
    """(B, 10, 10, 10) in arrays of 512 voxels per block: the voxels of each block and two layers above it.

    ``above`` (B, 8): places of the block and of those above it in such an array.
    """
    axis = np.arange(PADDED)
    x, y, z = np.meshgrid(axis // EDGE, axis // EDGE, axis // EDGE, indexing="ij")
    which = (4 * x + 2 * y + z).reshape(-1)  # of the eight blocks holds it
    inner = axis % EDGE
    voxel = (EDGE * EDGE * inner[:, None, None] + EDGE * inner[:, None] + inner).reshape(-1)
    return (above[:, which] * VOXELS + voxel).reshape(-1, PADDED, PADDED, PADDED)


def _crossed_cells(sides: np.ndarray) -> np.ndarray:
    """(N,) flat indices of (B, 9, 9, 9): cells with voxels on both sides of the surface, which are known entirely."""
    sides = sides[:, :-1] | sides[:, 1:]
    sides = sides[:, :, :-1] | sides[:, :, 1:]
    sides = sides[..., :-1] | sides[..., 1:]
    return np.flatnonzero(sides == CROSSED)


def _vertices(values: np.ndarray) -> np.ndarray:
    """(N, 3) in the cell, from its lower corner, of distances (N, 8) at its `CORNERS`."""
    mean = values.mean(axis=1)
    slope = values @ ((2 * CORNERS - 1) / 4).astype(np.float32)  # the least-squares fit of a linear function
    step = -mean / np.maximum(np.square(slope).sum(axis=1), 1e-9)
    return np.clip(0.5 + step[:, None] * slope, 0, 1)


def _triangles(
    is_inside: np.ndarray, cells: np.ndarray, block: np.ndarray, is_own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Block of each triangle (T,), ascending, and its vertices (T, 3), of cells (N,) with corners (N, 8).

    Every cell of a block's ``is_own`` stands for the three edges that end in its last corner.
    """
    number = np.full((block[-1] + 1) * CELLS**3, -1, np.int32)
    number[cells] = np.arange(len(cells))
    blocks, triangles = [], []
    for axis in range(3):
        here = is_inside[:, LAST - (4, 2, 1)[axis]]
        edges = np.flatnonzero(is_own & (here != is_inside[:, LAST]))
        one, two = STEPS[(axis + 1) % 3], STEPS[(axis + 2) % 3]
        quads = number.take(cells[edges, None] + np.array([0, one, one + two, two]))  # the cells around the edge
        known = (quads >= 0).all(axis=1)
        quads, edges = quads[known], edges[known]
        is_back = ~here[edges]
        quads[is_back] = quads[is_back, ::-1]
        triangles.append(quads[:, TRIANGLES_OF_QUAD].reshape(-1, 3))
        blocks.append(np.repeat(block[edges], 2))
    of_block = np.concatenate(blocks)
    order = np.argsort(of_block, kind="stable")
    return of_block[order], np.concatenate(triangles)[order]


def _by_block(
    keys: np.ndarray, of_vertex: np.ndarray, vertices: np.ndarray, colors: np.ndarray, of_triangle: np.ndarray,
    triangles: np.ndarray,
) -> dict[int, Mesh]:  # fmt: skip
    """The arrays of all blocks cut into one mesh each; vertices that no triangle of the block has stay."""
    filled, first = np.unique(of_triangle, return_index=True)
    last = [*first[1:], len(triangles)][: len(first)]
    starts, ends = np.searchsorted(of_vertex, filled), np.searchsorted(of_vertex, filled, side="right")
    return {
        key: Mesh(vertices[a:b], colors[a:b], triangles[c:d] - np.int32(a))
        for key, a, b, c, d in zip(keys[filled].tolist(), starts, ends, first, last, strict=True)
    }
