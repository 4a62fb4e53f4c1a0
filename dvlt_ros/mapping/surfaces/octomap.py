"""The volume as an OctoMap file (.bt), which octomap_server, MoveIt and others read (Hornung et al. 2013).

NumPy writes it: the binding of OctoMap takes a voxel at a time, several seconds for a building.
"""

from __future__ import annotations

import numpy as np

from .grid import SURFACE
from .volume import EDGE, MIN_WEIGHT, Volume, places_of, voxel_places

DEPTH = 16  # of the tree; a leaf at this depth is a voxel
BLOCK_DEPTH = 13  # a node at this depth is a block
HALF_OF_BLOCKS = 1 << (BLOCK_DEPTH - 1)  # the origin lies in the middle
FREE, OCCUPIED, INNER = 1, 2, 3  # what a node says of a child, in two bits; 0: unknown
HEADER = "# Octomap OcTree binary file\nid OcTree\nsize {size}\nres {resolution:.9g}\ndata\n"


def octomap(volume: Volume) -> bytes:
    """Content of a file: what mesh and grid know, occupied where a surface is; eight equal leaves are one.

    Voxels farther than 32,768 from the origin are left out.
    """
    codes, states = _known_voxels(volume)
    first, depths, masks = [], [], []  # of inner nodes: code of their first voxel, depth, and what they say
    for depth in range(DEPTH - 1, -1, -1):
        codes, states, mask = _parents(codes, states)
        is_inner = states == INNER
        first.append(codes[is_inner] << (3 * (DEPTH - depth)))
        depths.append(np.full(len(first[-1]), depth))
        masks.append(mask[is_inner])
        if depth == BLOCK_DEPTH:
            places = places_of(volume.free_keys) + HALF_OF_BLOCKS
            inside = ((places >= 0) & (places < 1 << BLOCK_DEPTH)).all(axis=1)
            free = _codes(places[inside], BLOCK_DEPTH)
            codes = np.concatenate([codes, free])
            states = np.concatenate([states, np.full(len(free), FREE)])
    order = np.lexsort([np.concatenate(depths), np.concatenate(first)])  # each node before its children
    written = np.concatenate(masks)[order].astype("<u2")
    children = (written | written >> 1) & 0x5555
    size = 1 + int(np.unpackbits(children.view(np.uint8)).sum())
    return HEADER.format(size=size, resolution=volume.voxel_size).encode() + written.tobytes()


def _known_voxels(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N,) and states (N,) of all voxels that more than one view has seen; without surfaces that are doubtful."""
    is_known = volume.weight[volume.rows] >= MIN_WEIGHT
    is_known &= (volume.distance[volume.rows] >= SURFACE) | volume.believed(volume.rows)
    block, voxel = np.nonzero(is_known)
    places = EDGE * places_of(volume.keys)[block] + voxel_places()[voxel] + EDGE * HALF_OF_BLOCKS
    distance = volume.distance[volume.rows][is_known]
    inside = ((places >= 0) & (places < 1 << DEPTH)).all(axis=1)
    return _codes(places[inside], DEPTH), np.where(distance[inside] < SURFACE, OCCUPIED, FREE)


def _codes(places: np.ndarray, bits: int) -> np.ndarray:
    """(N,) int64 of places (N, 3) from 0 on: three bits for each level of the tree, the first level highest."""
    codes = np.zeros(len(places), np.int64)
    for bit in range(bits):
        for axis in range(3):
            codes |= (places[:, axis] >> bit & 1) << (3 * bit + axis)
    return codes


def _parents(codes: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, states and masks of the nodes above; a node with eight equal leaves is a leaf itself."""
    parents, of_child = np.unique(codes >> 3, return_inverse=True)
    masks = np.zeros(len(parents), np.int64)
    np.bitwise_or.at(masks, of_child, states << (2 * (codes & 7)))
    states = np.full(len(parents), INNER)
    for leaf in (FREE, OCCUPIED):
        states[masks == leaf * 0x5555] = leaf
    return parents, states, masks
