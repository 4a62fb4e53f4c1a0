"""What is no part of a static scene, told by the window itself: what is seen through, what tracks say, and sky.

Of two views of one window, what one sees at a place and the other looks through was not there for both: it moves. Views
of other times must vote, because the network errs at edges. Who walks ahead of the camera is never looked through, but
tracked points on them contradict the motion that all others agree with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...model import PixelMapping
from ..data.turn import Turn
from ..data.views import Anchor
from .config import MasksConfig
from .moving_tracks import beside_moving_tracks
from .placement import unprojected
from .submap import spread, stride_of

COMPARED_PIXELS = 3_000  # of each view, about
DEPTH_TOLERANCE = 0.1  # relative difference of depths that are the same
MIN_VOTES = 2  # views that look through, more than those that see the same
NEAR, SURE = 0.25, 0.75  # quantiles of a frame's depth and confidence that stand for its ground
SKY_DEPTHS = 4.0  # of the near depth; sky lies beyond
SKY_CONFIDENCE = 0.5  # of the sure confidence; sky lies below


def without_dynamics(
    anchors: Sequence[Anchor], num_shared: int, config: MasksConfig, mapping: PixelMapping
) -> list[Anchor]:
    """The views of a window, the shared ones first; of the new ones what moves, and sky, is hidden if asked for.

    ``mapping``: from the pictures' pixels to those of the maps.
    """
    found = list(anchors)
    if not (config.moving or config.sky):
        return found
    views = [Looking.of(anchor.depth, anchor.intrinsics, anchor.map_from_cam) for anchor in anchors]
    for index in range(num_shared, len(anchors)):
        anchor = anchors[index]
        is_hidden = np.zeros(anchor.depth.shape, bool)
        if config.moving:
            sets = [other.view.frame_set for other in anchors]  # cameras that looked at once saw the same
            others = [view for view, its in zip(views, sets, strict=True) if its != anchor.view.frame_set]
            is_hidden |= looked_through(anchor, others) | beside_moving_tracks(anchor, mapping)
        if config.sky:
            is_hidden |= sky(anchor)
        if is_hidden.any():
            found[index] = hidden_at(anchor, is_hidden)
    return found


def looked_through(anchor: Anchor, others: Sequence[Looking]) -> np.ndarray:
    """(h, w) bool: what more views look through than see at the same depth, and at least `MIN_VOTES`."""
    stride = stride_of(anchor.depth.shape, COMPARED_PIXELS)
    points = unprojected(anchor.depth, anchor.intrinsics, anchor.map_from_cam, stride)
    votes = np.zeros((2, len(points)), int)
    for other in others:
        votes += seen_by(points, other, DEPTH_TOLERANCE)
    same, through = votes
    return spread((through >= MIN_VOTES) & (through > same), anchor.depth.shape, stride)


@dataclass(frozen=True, eq=False)
class Looking:
    """A view with a known camera, for `seen_by`."""

    depth: np.ndarray  # (h, w)
    nearest: np.ndarray  # (h, w): the smallest depth of each pixel and its eight neighbours; NaN is ignored
    intrinsics: np.ndarray  # (3, 3)
    frame_from_cam: np.ndarray  # (4, 4)

    @classmethod
    def of(cls, depth: np.ndarray, intrinsics: np.ndarray, frame_from_cam: np.ndarray) -> Looking:
        nearest = cv2.erode(np.where(np.isnan(depth), np.inf, depth), np.ones((3, 3), np.uint8))
        return cls(depth, np.where(np.isinf(nearest), np.nan, nearest), intrinsics, frame_from_cam)


def seen_by(points: np.ndarray, view: Looking, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool each: points (N, 3) that a view sees at the same depth, and those that it looks through.

    Near an edge the view's pixel may belong to the other surface, so a point counts as looked through only if all
    pixels around it have a larger depth. NaN is neither.
    """
    inside = (points - view.frame_from_cam[:3, 3]) @ view.frame_from_cam[:3, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = np.floor((inside @ view.intrinsics.T)[:, :2] / inside[:, 2:])
        height, width = view.depth.shape
        seen = (inside[:, 2] > 0) & (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1)
        columns, rows = np.where(seen[:, None], pixels, 0).astype(np.intp).T
        same = seen & (np.abs(view.depth[rows, columns] / inside[:, 2] - 1) <= tolerance)
        through = seen & (view.nearest[rows, columns] / inside[:, 2] > 1 + tolerance)
    return same, through


def sky(anchor: Anchor) -> np.ndarray:
    """(h, w) bool: from the image's upper edge down, as far as pixels are far and unsure beside the rest."""
    turn: Turn = anchor.view.turn
    depth, confidence = turn.restored(anchor.depth), turn.restored(anchor.confidence)
    usable = np.isfinite(depth) & (depth > 0)
    if not usable.any():
        return np.zeros(anchor.depth.shape, bool)
    far = SKY_DEPTHS * np.quantile(depth[usable], NEAR)
    unsure = SKY_CONFIDENCE * np.quantile(confidence[usable], SURE)
    with np.errstate(invalid="ignore"):
        is_like_sky = ~usable | ((depth >= far) & (confidence <= unsure))
    return turn.image(np.logical_and.accumulate(is_like_sky, axis=0))


def hidden_at(anchor: Anchor, is_hidden: np.ndarray) -> Anchor:
    """The view without these pixels (h, w), whose depth is kept apart as that of masks is."""
    before = np.full_like(anchor.depth, np.nan) if anchor.hidden is None else anchor.hidden
    hidden = np.where(is_hidden & np.isfinite(anchor.depth), anchor.depth, before)
    return replace(anchor, depth=np.where(is_hidden, np.float32(np.nan), anchor.depth), hidden=hidden)
