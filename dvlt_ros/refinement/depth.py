"""Depth maps that agree with the triangulated points: one scale per frame, then a smooth field of its logarithm.

The field lives on a bilateral grid (Chen et al. 2007) over column, row and logarithm of the network's depth, so that
surfaces at different depths keep their own corrections. It falls back to the frame's scale where no point supports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .adjusting.memory import LARGEST_DEVIATION
from .arrays import median
from .window import NetworkAnswer

GRID = (6, 5, 3)  # nodes by column, row and depth
DEPTH_CELL = 0.5  # logarithm of depth between nodes
SPREAD = 0.5  # of the field about the frame's scale, assumed at first
SHOWN, LEAST_SPREAD = 1.5, 0.03  # then so many times what the first field shows; at least
SMOOTH = 0.3  # of its difference between neighbours in the image
SMOOTH_DEPTH = 0.6  # and in depth
NOISE = 0.04  # of the network's depth around the field
EDGE = 0.12  # relative difference of depth between neighbours, that is an occlusion edge
SLICED_WIDTH = 63  # pixels at which the field is read from the grid: it is smooth
MIN_POINTS = 6  # of a frame
ROUNDS = 2
OUTLIER = 6.0  # standard deviations, at which a point counts a quarter
CONFIRMING = 2.0  # points of weight 1 at a node that support it by half
MOST_GAIN = 1.0  # of confidence: it doubles where points confirm
ROWS_AROUND, COLUMNS_AROUND = (shift.reshape(9, 1) for shift in np.mgrid[-1:2, -1:2])  # 4 of 0 to 8: the pixel itself


@dataclass(frozen=True, eq=False)
class Points:
    """The N sights that say something of a map, frame by frame."""

    frame: np.ndarray  # (N,)
    place: np.ndarray  # (N, 2) in its map
    own: np.ndarray  # (N,) logarithm of the map's depth there
    ratio: np.ndarray  # (N,) logarithm of the point's depth over it
    spread: np.ndarray  # (N,) standard deviation of the ratio, by the point alone

    def of(self, frame: int) -> slice:
        return slice(*np.searchsorted(self.frame, (frame, frame + 1)))

    def select(self, chosen: np.ndarray) -> Points:
        """Some, by (N,) bool."""
        return Points(*(values[chosen] for values in vars(self).values()))


def corrected(
    network: NetworkAnswer, pixels: np.ndarray, depths: np.ndarray, fits: np.ndarray, deviation: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and confidence (S, h, w) after the points' depths (P, S) at pixels (P, S, 2) of the images.

    ``fits`` (P, S) are the sights that count, ``deviation`` (P,) is of the logarithm of a point's depth. Frames with
    fewer than `MIN_POINTS` get the others' scale; ``unit`` is what the network's depth is multiplied by before.
    """
    depth, confidence = np.float32(unit) * network.depth, network.confidence.copy()
    points = points_of(depth, pixels * network.scale + network.offset, depths, fits, deviation)
    weight = 1 / (points.spread**2 + NOISE**2)
    slices = [points.of(s) for s in range(len(depth))]
    scales = [weighted_median(points.ratio[own], weight[own]) for own in slices]
    told = [s for s, own in enumerate(slices) if own.stop - own.start >= MIN_POINTS]
    common = median(np.array([scales[s] for s in told] or [0.0]))
    fields, supports = smooth_fields(depth, points, told, scales) if told else (np.zeros(0), np.zeros(0))
    for s in set(range(len(depth))) - set(told):
        depth[s] *= np.exp(common)
    for s, field, support in zip(told, fields, supports, strict=True):
        depth[s] *= enlarged(cv2.exp(field + np.float32(scales[s])), depth[s].shape)
        confidence[s] *= enlarged(1 + MOST_GAIN * support, depth[s].shape)
    return depth, confidence


def points_of(
    depth: np.ndarray, cells: np.ndarray, found: np.ndarray, fits: np.ndarray, deviation: np.ndarray
) -> Points:
    """Of sights (P, S) at cells (P, S, 2) of the maps, those on a smooth surface."""
    height, width = depth.shape[1:]
    frame, track = np.nonzero((fits & (deviation < LARGEST_DEVIATION)[:, None]).T)
    place = cells[track, frame]
    inside = ((place >= 0) & (place < (width, height))).all(axis=1)
    frame, track, place = frame[inside], track[inside], place[inside]
    columns, rows = place.astype(int).T
    around = depth[frame, (rows + ROWS_AROUND).clip(0, height - 1), (columns + COLUMNS_AROUND).clip(0, width - 1)]
    nearest = around.min(axis=0)  # NaN where one is
    smooth = (nearest > 0) & (around.max(axis=0) < (1 + EDGE) * nearest)
    frame, track, place, own = frame[smooth], track[smooth], place[smooth], np.log(around[4, smooth])
    ratio = np.log(found[track, frame] / between(depth, frame, place))
    return Points(frame, place, own, ratio, deviation[track])


def between(depth: np.ndarray, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Depth (S, h, w) at places (N, 2) of frames (N,), interpolated: pixel (0, 0) is centred at (0.5, 0.5)."""
    height, width = depth.shape[1:]
    at = np.clip(place - 0.5, 0, (width - 1.001, height - 1.001))
    (u, v), (right, down) = at.astype(int).T, (at % 1).T
    upper = (1 - right) * depth[frame, v, u] + right * depth[frame, v, u + 1]
    return (1 - down) * upper + down * ((1 - right) * depth[frame, v + 1, u] + right * depth[frame, v + 1, u + 1])


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """0 of none."""
    if not len(values):
        return 0.0
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def smooth_fields(
    depth: np.ndarray, points: Points, told: list[int], scales: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Of the told frames, fields of logarithms of scale about theirs, and how far points confirm them, 0 to 1.

    Both are (T, h', w') at `SLICED_WIDTH` or as large as the maps.
    """
    height, width = depth.shape[1:]
    points = points.select(np.isin(points.frame, told))
    slices = [points.of(s) for s in told]
    lowest, level = np.zeros(len(depth)), np.array(scales)
    lowest[told] = [median(points.own[own]) - DEPTH_CELL * (GRID[2] - 1) / 2 for own in slices]
    place = np.empty((len(points.own), 3))
    place[:, :2] = points.place / (width, height) * (GRID[0] - 1, GRID[1] - 1)
    place[:, 2] = ((points.own - lowest[points.frame]) / DEPTH_CELL).clip(0, GRID[2] - 1)
    information = 1 / (np.square(points.spread) + NOISE**2)
    nodes = fitted(interpolation(place), points.ratio - level[points.frame], information, slices)
    every = max(1, round(width / SLICED_WIDTH))
    coarse = np.log(np.fmax(depth[told, ::every, ::every], np.float32(1e-6)))  # NaN counts as near
    layer = (coarse - lowest[told, None, None].astype(np.float32)) / np.float32(DEPTH_CELL)
    values = sliced(nodes, layer.clip(0, GRID[2] - 1))
    return values[:, 0], values[:, 1]


def fitted(basis: np.ndarray, ratio: np.ndarray, information: np.ndarray, slices: list[slice]) -> np.ndarray:
    """(T, 2, nodes): the fields of T frames, and how far points confirm them; ``basis`` (N, nodes) of ratios (N,) with
    information (N,), of which each frame has one slice.

    How far fields go from 0 is what the first one shows (empirical Bayes): if a network is nearly right, points that
    differ by more are probably wrong.
    """
    weight, prior = 1 / np.square(1 + np.square(ratio / SPREAD)), PRIOR
    for _ in range(ROUNDS):
        told = information * weight
        nodes = [likeliest(basis[own], ratio[own], told[own], prior) for own in slices]
        fields = np.concatenate([basis[own] @ found for own, found in zip(slices, nodes, strict=True)])
        weight = 1 / np.square(1 + np.square(ratio - fields) * information / OUTLIER**2)
        shown = SHOWN**2 * float(np.square(fields) @ weight / weight.sum())
        prior = PRIOR * (SPREAD**2 / min(max(shown, LEAST_SPREAD**2), SPREAD**2))
    confirmed = np.stack([weight[own] @ basis[own] for own in slices])
    return np.stack([np.stack(nodes), confirmed / (confirmed + CONFIRMING)], axis=1)


def likeliest(basis: np.ndarray, ratio: np.ndarray, information: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """(nodes,) of one field."""
    root = np.sqrt(information)
    weighted = basis * root[:, None]
    return np.linalg.solve(weighted.T @ weighted + prior, (root * ratio) @ weighted)


def interpolation(place: np.ndarray) -> np.ndarray:
    """(N, nodes) trilinear weights of places (N, 3) in the grid."""
    u, v, d = (tents(place[:, axis], size) for axis, size in enumerate(GRID))
    return (d[:, :, None, None] * v[:, None, :, None] * u[:, None, None, :]).reshape(len(place), -1)


def tents(place: np.ndarray, size: int) -> np.ndarray:
    """(N, size) linear weights of places (N,) among so many nodes."""
    return np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(size)))


def sliced(nodes: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Values (T, 2, h, w) of grids (T, 2, nodes) at every pixel, whose depth is ``layer`` (T, h, w) of the grid."""
    rows, columns = pixel_weights(layer.shape[1:])
    grid = nodes.reshape(-1, 2, *GRID[::-1]).astype(np.float32)  # value, depth, row, column
    flat = rows @ grid @ columns.T  # (T, 2, depth, h, w)
    result = np.zeros((len(grid), 2, *layer.shape[1:]), dtype=np.float32)
    for d in range(GRID[2]):
        result += np.maximum(0, 1 - np.abs(layer - np.float32(d)))[:, None] * flat[:, :, d]
    return result


@lru_cache(maxsize=4)
def pixel_weights(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of the grid's rows at the rows of maps (h, w), and of its columns at their columns."""
    rows = tents((np.arange(shape[0]) + 0.5) / shape[0] * (GRID[1] - 1), GRID[1])
    columns = tents((np.arange(shape[1]) + 0.5) / shape[1] * (GRID[0] - 1), GRID[0])
    return rows.astype(np.float32), columns.astype(np.float32)


def enlarged(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)


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
