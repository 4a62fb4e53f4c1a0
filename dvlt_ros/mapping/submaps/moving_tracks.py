"""What moves, told by tracked points: pixels whose nearest tracks contradict the motion of the camera."""

from __future__ import annotations

import numpy as np

from ...geometry import every, pixel_grid
from ...model import PixelMapping
from ..data.views import Anchor
from .submap import spread, stride_of

COMPARED_PIXELS = 3_000  # of each view, about
MIN_TRACKS = 3  # that move, in a view: one or two may have slipped
NEIGHBOURS = 3  # tracks that vote about a pixel
REACH = 0.12  # widths of the image, from a pixel to a track that votes
DEPTH_REACH = 0.15  # logarithm of depth that separates as much as `REACH` does


def beside_moving_tracks(anchor: Anchor, mapping: PixelMapping) -> np.ndarray:
    """(h, w) bool: pixels whose nearest tracks, in the image and in depth, move by majority.

    ``mapping``: from the picture's pixels to those of the maps.
    """
    shape, tracks = anchor.depth.shape, anchor.landmarks
    if len(tracks.moving) < MIN_TRACKS:
        return np.zeros(shape, bool)
    cells = np.concatenate([tracks.moving, tracks.pixels]) * mapping.scale + mapping.offset
    moves = np.arange(len(cells)) < len(tracks.moving)
    height, width = shape
    inside = ((cells >= 0) & (cells < (width, height))).all(axis=1)
    cells, moves = cells[inside], moves[inside]
    columns, rows = cells.astype(int).T
    places = _places(cells, anchor.depth[rows, columns], width)
    known = np.isfinite(places).all(axis=1)
    places, moves = places[known], moves[known]
    if moves.sum() < MIN_TRACKS:
        return np.zeros(shape, bool)
    stride = stride_of(shape, COMPARED_PIXELS)
    pixels = _places(pixel_grid(shape, stride).reshape(-1, 2), anchor.depth[every(stride)].reshape(-1), width)
    squared = np.square(pixels[:, None] - places).sum(axis=2)  # NaN where there is no depth
    count = min(NEIGHBOURS, len(places))
    nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
    votes = moves[nearest] & (np.take_along_axis(squared, nearest, axis=1) < REACH**2)
    return spread(2 * votes.sum(axis=1) > NEIGHBOURS, shape, stride)


def _places(pixels: np.ndarray, depth: np.ndarray, width: int) -> np.ndarray:
    """(N, 3) of pixels (N, 2) with depth (N,): widths of the image, and logarithms of depth in the same measure."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack([pixels / width, np.log(depth) * (REACH / DEPTH_REACH)])
