"""Depth maps that agree with the triangulated points: one scale per frame, then a smooth field of its logarithm.

The field lives on a bilateral grid (Chen et al. 2007) over column, row and logarithm of the network's depth, so that
surfaces at different depths keep their own corrections. It falls back to the frame's scale where no point supports it.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .adjusting.memory import LARGEST_DEVIATION
from .window import NetworkAnswer

GRID = (6, 5, 3)  # nodes by column, row and depth
DEPTH_CELL = 0.5  # logarithm of depth between nodes
SPREAD = 0.5  # of the field about the frame's scale, before any point is seen
SMOOTH = 0.3  # of its difference between neighbours in the image
SMOOTH_DEPTH = 0.6  # and in depth
NOISE = 0.04  # of the network's depth around the field
EDGE = 0.12  # relative difference of depth between neighbours, that is an occlusion edge
SLICED_WIDTH = 84  # pixels at which the field is read from the grid: it is smooth
MIN_POINTS = 6  # of a frame
ROUNDS = 2
OUTLIER = 6.0  # standard deviations, at which a point counts a quarter
CONFIRMING = 2.0  # points of weight 1 at a node that support it by half
MOST_GAIN = 1.0  # of confidence: it doubles where points confirm


def corrected(
    network: NetworkAnswer, pixels: np.ndarray, depths: np.ndarray, fits: np.ndarray, deviation: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and confidence (S, h, w) after the points' depths (P, S) at pixels (P, S, 2) of the images.

    ``fits`` (P, S) are the sights that count, ``deviation`` (P,) is of the logarithm of a point's depth. Frames with
    fewer than `MIN_POINTS` get the others' scale; ``unit`` is what the network's depth is multiplied by before.
    """
    depth, confidence = np.float32(unit) * network.depth, network.confidence.copy()
    cells = pixels * network.scale + network.offset
    ratios = [points_of(depth[s], cells[:, s], depths[:, s], fits[:, s], deviation) for s in range(len(depth))]
    enough = [len(ratio) >= MIN_POINTS for _, ratio, _ in ratios]
    scales = [weighted_median(ratio, 1 / (spread**2 + NOISE**2)) for _, ratio, spread in ratios]
    common = float(np.median([scale for scale, is_told in zip(scales, enough, strict=True) if is_told] or [0.0]))
    for s, (at, ratio, spread) in enumerate(ratios):
        if not enough[s]:
            depth[s] *= np.exp(common)
            continue
        field, support = smooth_field(depth[s], at, ratio - scales[s], spread)
        depth[s] *= cv2.exp(field + np.float32(scales[s]))
        confidence[s] *= 1 + MOST_GAIN * support
    return depth, confidence


def points_of(
    depth: np.ndarray, cells: np.ndarray, found: np.ndarray, fits: np.ndarray, deviation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a frame: places (N, 2) in its map, logarithms of found over mapped depth (N,), and their deviations (N,)."""
    height, width = depth.shape
    cells, found, deviation = cells[fits], found[fits], deviation[fits]
    inside = ((cells >= 0) & (cells < (width, height))).all(axis=1) & (deviation < LARGEST_DEVIATION)
    cells, found, deviation = cells[inside], found[inside], deviation[inside]
    columns, rows = np.floor(cells).astype(int).T
    around = np.nan_to_num(depth, nan=0.0)
    nearest, furthest = cv2.erode(around, np.ones((3, 3))), cv2.dilate(around, np.ones((3, 3)))
    smooth = (nearest[rows, columns] > 0) & (furthest[rows, columns] < (1 + EDGE) * nearest[rows, columns])
    cells, found, deviation = cells[smooth], found[smooth], deviation[smooth]
    return cells, np.log(found / between(around, cells)), deviation


def between(depth: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Depth (h, w) at places (N, 2), interpolated: pixel (0, 0) is centred at (0.5, 0.5)."""
    height, width = depth.shape
    at = np.clip(cells - 0.5, 0, (width - 1.001, height - 1.001))
    (u, v), (right, down) = np.floor(at).astype(int).T, (at - np.floor(at)).T
    upper = (1 - right) * depth[v, u] + right * depth[v, u + 1]
    return (1 - down) * upper + down * ((1 - right) * depth[v + 1, u] + right * depth[v + 1, u + 1])


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """0 of none."""
    if not len(values):
        return 0.0
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def smooth_field(
    depth: np.ndarray, at: np.ndarray, ratio: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Field (h, w) of logarithms of scale, and how far points confirm it (h, w), 0 to 1."""
    height, width = depth.shape
    columns, rows = np.floor(at).astype(int).T
    own = np.log(depth[rows, columns])
    lowest = float(np.median(own)) - DEPTH_CELL * (GRID[2] - 1) / 2
    place = np.stack([at[:, 0] / width * (GRID[0] - 1), at[:, 1] / height * (GRID[1] - 1),
                      ((own - lowest) / DEPTH_CELL).clip(0, GRID[2] - 1)], axis=1)  # fmt: skip
    basis = interpolation(place)
    information, weight = 1 / (np.square(spread) + NOISE**2), 1 / np.square(1 + np.square(ratio / SPREAD))
    nodes = np.zeros(basis.shape[1])
    for _ in range(ROUNDS):
        weighted = basis * (information * weight)[:, None]
        nodes = np.linalg.solve(basis.T @ weighted + PRIOR, weighted.T @ ratio)
        weight = 1 / np.square(1 + np.square(ratio - basis @ nodes) * information / OUTLIER**2)
    confirmed = basis.T @ weight
    every = max(1, round(width / SLICED_WIDTH))
    coarse = cv2.log(np.maximum(np.nan_to_num(depth[::every, ::every], nan=0.0), 1e-6))  # float32, which is quick
    layer = np.clip((coarse - np.float32(lowest)) / np.float32(DEPTH_CELL), 0, GRID[2] - 1)
    values = sliced(np.stack([nodes, confirmed / (confirmed + CONFIRMING)]), layer)
    field, support = (cv2.resize(value, (width, height), interpolation=cv2.INTER_LINEAR) for value in values)
    return field, support


def interpolation(place: np.ndarray) -> np.ndarray:
    """(N, nodes) trilinear weights of places (N, 3) in the grid."""
    u, v, d = (np.maximum(0.0, 1 - np.abs(place[:, axis, None] - np.arange(size))) for axis, size in enumerate(GRID))
    return (d[:, :, None, None] * v[:, None, :, None] * u[:, None, None, :]).reshape(len(place), -1)


def sliced(nodes: np.ndarray, layer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two values (2, nodes) of the grid at every pixel of (h, w), whose depth is ``layer`` of the grid."""
    maps = pixel_maps(layer.shape)
    grid = nodes.reshape(2, *GRID[::-1]).astype(np.float32)  # value, depth, row, column
    first, second = np.zeros_like(layer), np.zeros_like(layer)
    for d in range(GRID[2]):
        near = np.maximum(0, 1 - np.abs(layer - np.float32(d)))
        first += near * cv2.remap(grid[0, d], *maps, cv2.INTER_LINEAR)
        second += near * cv2.remap(grid[1, d], *maps, cv2.INTER_LINEAR)
    return first, second


@lru_cache(maxsize=4)
def pixel_maps(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of maps (h, w) lie in the grid, by column and row."""
    columns = (np.arange(shape[1], dtype=np.float32) + 0.5) / shape[1] * (GRID[0] - 1)
    rows = (np.arange(shape[0], dtype=np.float32) + 0.5) / shape[0] * (GRID[1] - 1)
    return np.tile(columns, (shape[0], 1)), np.tile(rows[:, None], (1, shape[1]))


def grid_prior() -> np.ndarray:
    """Inverse covariance of the nodes: smooth, and near 0."""
    total = np.eye(int(np.prod(GRID))) / (SPREAD**2 * 4)
    index = np.arange(len(total)).reshape(GRID[::-1])
    for axis, spread in ((0, SMOOTH_DEPTH), (1, SMOOTH), (2, SMOOTH)):
        first, second = np.moveaxis(index, axis, 0)[:-1].ravel(), np.moveaxis(index, axis, 0)[1:].ravel()
        for a, b, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            np.add.at(total, (a, b), sign / spread**2)
    return total


PRIOR = grid_prior()
