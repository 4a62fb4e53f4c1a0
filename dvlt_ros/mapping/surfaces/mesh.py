"""The surface in the volume as triangles: naive surface nets (Gibson 1998), block by block.

Every cell between eight voxels through which the surface passes has one vertex, where the linear function closest to
the eight distances is zero. Every edge between two voxels that the surface crosses joins the vertices of its four
cells by two triangles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from .volume import DISTANCE_UNIT, EDGE, MIN_WEIGHT, UNSEEN, VOXELS, Volume, keys_of, places_of

PADDED, CELLS = EDGE + 2, EDGE + 1  # of a block with the voxels around it, and the cells between them
CORNERS = np.array(list(product((0, 1), repeat=3)))  # (8, 3)
AROUND = np.array(list(product((-1, 0, 1), repeat=3)))  # (27, 3): a block and those that touch it
TRIANGLES_OF_QUAD = np.array([(0, 1, 2), (0, 2, 3)])


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
    def joined(cls, parts: list[Mesh]) -> Mesh:
        """All parts in one; equal vertices, at the borders of blocks, become one."""
        if not parts:
            return EMPTY
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        vertices = np.concatenate([part.vertices for part in parts])
        triangles = np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=True)])
        bits = np.ascontiguousarray(vertices).view(np.dtype((np.void, vertices.itemsize * 3))).reshape(-1)
        _, first, same = np.unique(bits, return_index=True, return_inverse=True)
        colors = np.concatenate([part.colors for part in parts])
        return cls(vertices[first], colors[first], same[triangles].astype(np.int32))


EMPTY = Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty((0, 3), np.int32))


@dataclass(eq=False)
class BlockMeshes:
    """The mesh of every block; only blocks near changed ones are computed again."""

    of_block: dict[int, Mesh] = field(default_factory=dict)

    def follow(self, volume: Volume, changed: np.ndarray) -> np.ndarray:
        """``changed``: keys; returns the keys (N,) of all blocks whose mesh may be another one now."""
        around = np.unique(keys_of(places_of(changed)[:, None] + AROUND))
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
    if not len(keys):
        return {}
    at = _padded_index(volume, keys)
    distance, weight = volume.distance.reshape(-1), volume.weight.reshape(-1)
    is_inside = distance.take(at) < 0
    is_known = weight.take(at) >= MIN_WEIGHT
    cells = _crossed_cells(is_inside, is_known)  # (N, 4): block, x, y, z
    corners = at[(cells[:, 0, None], *(cells[:, None, 1:] + CORNERS).transpose(2, 0, 1))]  # (N, 8)
    values = distance.take(corners) / np.float32(DISTANCE_UNIT)
    vertices = _vertices(values) + cells[:, 1:] - 0.5  # in voxels, from the block's corner
    nearest = np.abs(values).argmin(axis=1)
    colors = volume.color.reshape(-1, 3).take(corners[np.arange(len(corners)), nearest], axis=0)
    points = volume.voxel_size * (EDGE * places_of(keys)[cells[:, 0]] + vertices)
    number = np.full((len(keys), CELLS, CELLS, CELLS), -1, np.int32)
    number[tuple(cells.T)] = np.arange(len(cells))
    blocks, triangles = _triangles(is_inside, number)
    return _by_block(keys, cells[:, 0], points.astype(np.float32), colors, blocks, triangles)


def _padded_index(volume: Volume, keys: np.ndarray) -> np.ndarray:
    """(B, 10, 10, 10): of each voxel of the blocks and around them, from place -1 on, in the volume's flat arrays."""
    axis = np.arange(-1, EDGE + 1)
    x, y, z = np.meshgrid(axis // EDGE, axis // EDGE, axis // EDGE, indexing="ij")
    around = (9 * (x + 1) + 3 * (y + 1) + z + 1).reshape(-1)  # which of the 27 blocks holds it
    inner = axis % EDGE
    voxel = (EDGE * EDGE * inner[:, None, None] + EDGE * inner[:, None] + inner).reshape(-1)
    rows = volume.rows_of(keys_of(places_of(keys)[:, None] + AROUND))
    return (rows[:, around] * VOXELS + voxel).reshape(-1, PADDED, PADDED, PADDED)


def _crossed_cells(is_inside: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """(N, 4) block and place of the cells that have voxels on both sides of the surface, and are known entirely."""
    some, every, known = is_inside, is_inside, is_known
    for axis in (1, 2, 3):
        lower = tuple(slice(None, -1) if i == axis else slice(None) for i in range(4))
        upper = tuple(slice(1, None) if i == axis else slice(None) for i in range(4))
        some, every, known = some[lower] | some[upper], every[lower] & every[upper], known[lower] & known[upper]
    return np.argwhere(some & ~every & known)


def _vertices(values: np.ndarray) -> np.ndarray:
    """(N, 3) in the cell, from its lower corner, of distances (N, 8) at its `CORNERS`."""
    mean = values.mean(axis=1)
    slope = values @ ((2 * CORNERS - 1) / 4).astype(np.float32)  # the least-squares fit of a linear function
    step = -mean / np.maximum(np.square(slope).sum(axis=1), 1e-9)
    return np.clip(0.5 + step[:, None] * slope, 0, 1)


def _triangles(is_inside: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Block of each triangle (T,), ascending, and its vertices (T, 3), counted over all blocks."""
    blocks, triangles = [], []
    own = slice(1, EDGE + 1)
    for axis in range(3):
        ahead: list[slice] = [slice(None), own, own, own]
        ahead[1 + axis] = slice(2, EDGE + 2)
        here, there = is_inside[:, own, own, own], is_inside[tuple(ahead)]
        edges = np.argwhere(here != there)  # (E, 4): block and place
        one, two = (axis + 1) % 3, (axis + 2) % 3
        corners = np.ones((4, 3), np.int64)  # the cells around the edge; a voxel's own cell is one place further
        corners[[0, 3], one], corners[[0, 1], two] = 0, 0
        places = edges[:, None, 1:] + corners
        quads = number[(edges[:, 0, None], *places.transpose(2, 0, 1))]
        known = (quads >= 0).all(axis=1)
        quads, edges = quads[known], edges[known]
        is_back = ~here[tuple(edges.T)]
        quads[is_back] = quads[is_back, ::-1]
        triangles.append(quads[:, TRIANGLES_OF_QUAD].reshape(-1, 3))
        blocks.append(np.repeat(edges[:, 0], 2))
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
