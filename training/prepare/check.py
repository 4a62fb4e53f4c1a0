"""Looks at a benchmark as its loader reads it: every view, and two views of each sequence against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dvlt_ros.errors import DataError

from ..batches.augment import Frame
from ..data.benchmark_sequence import BenchmarkSequence

MAX_DISAGREEMENT = 0.05  # median, relative depth; wrong poses, units or cameras give more
MIN_COMMON = 100  # points that two views must share to be compared
MAX_GAP_PX = 5.0  # between a projected point and a depth of the other view; lidar is sparse
MAX_PARTNERS = 8


@dataclass(frozen=True)
class SequenceCheck:
    """What was found in one sequence. Depths are in the data set's unit."""

    views: int
    empty_views: int  # without any valid depth
    valid_share: float  # of all pixels
    depth_range: tuple[float, float]
    median_depth: float  # of the views' medians
    disagreement: float | None  # median relative difference of depth between two views; None: none share enough
    partner: int | None  # the view that the first was compared with

    def as_text(self) -> str:
        between = "no view shares enough with the first"
        if self.disagreement is not None:
            between = f"depth of views 0 and {self.partner} differs by {100 * self.disagreement:.2f} %"
        low, high = self.depth_range
        empty = f", {self.empty_views} without depth" if self.empty_views else ""
        return (
            f"{self.views} views{empty}, {100 * self.valid_share:.1f} % valid, "
            f"depth {low:.3g} to {high:.3g}, median {self.median_depth:.3g}; {between}"
        )


def check_sequence(sequence: BenchmarkSequence) -> SequenceCheck:
    """Reads every view.

    Raises:
        DataError: a view that cannot be read, NaN, no depth at all, or two views that contradict each other.
    """
    valid, pixels, medians, extremes = 0, 0, [], []
    for index in range(len(sequence)):
        frame = sequence.frame(index)
        for name in ("depth", "world_from_cam", "intrinsics"):
            if not np.isfinite(getattr(frame, name)).all():
                raise DataError(f"{sequence.views[index].source}: {name} has NaN or infinite values")
        known = frame.depth[frame.depth > 0]
        valid, pixels = valid + known.size, pixels + frame.depth.size
        if known.size:
            medians.append(float(np.median(known)))
            extremes += [float(known.min()), float(known.max())]
    if not medians:
        raise DataError(f"{sequence.name}: none of its {len(sequence)} views has a valid depth")
    disagreement, partner = _compare_views(sequence)
    if disagreement is not None and disagreement > MAX_DISAGREEMENT:
        raise DataError(
            f"{sequence.name}: the depths of views 0 and {partner} contradict each other: their median differs by "
            f"{100 * disagreement:.1f} %, so poses, intrinsics or units are wrong"
        )
    depth_range = min(extremes), max(extremes)
    empty = len(sequence) - len(medians)
    median = float(np.median(medians))
    return SequenceCheck(len(sequence), empty, valid / pixels, depth_range, median, disagreement, partner)


def _compare_views(sequence: BenchmarkSequence) -> tuple[float | None, int | None]:
    """The first view against the first of its neighbours that sees enough of the same."""
    reference = sequence.frame(0)
    for partner in _neighbours(sequence.world_from_cam)[:MAX_PARTNERS]:
        differences = depth_differences(reference, sequence.frame(partner))
        if differences.size >= MIN_COMMON:
            return float(np.median(differences)), partner
    return None, None


def _neighbours(world_from_cam: np.ndarray) -> Sequence[int]:
    """Views by their distance from the first, from a fifth of them on: the very nearest would hide wrong poses."""
    positions, axes = world_from_cam[:, :3, 3], world_from_cam[:, :3, 2]
    distances = np.linalg.norm(positions - positions[0], axis=-1)
    turns = np.arccos(np.clip(axes @ axes[0], -1, 1))
    order = np.argsort(distances / max(distances.mean(), 1e-12) + turns / np.pi, kind="stable")
    order = order[order != 0]
    start = len(order) // 5
    return [int(index) for index in (*order[start::-1], *order[start + 1 :])]


def depth_differences(frame: Frame, other: Frame) -> np.ndarray:
    """|z - z'| / z (M,) of the points of one view that fall next to a depth of the other."""
    if not (other.depth > 0).any():
        return np.empty(0)
    rows, columns = np.nonzero(frame.depth > 0)
    step = max(1, len(rows) // 200_000)
    rows, columns = rows[::step], columns[::step]
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=-1)
    points = pixels @ np.linalg.inv(frame.intrinsics).T * frame.depth[rows, columns, None]
    other_from_cam = np.linalg.inv(other.world_from_cam) @ frame.world_from_cam
    seen = points @ other_from_cam[:3, :3].T + other_from_cam[:3, 3]
    seen = seen[seen[:, 2] > 0]
    projected = seen / seen[:, 2:] @ other.intrinsics.T
    height, width = other.depth.shape
    inside = (projected[:, :2] >= 0).all(axis=-1) & (projected[:, 0] < width) & (projected[:, 1] < height)
    columns, rows = projected[inside, :2].astype(int).T
    gap, nearest = _nearest_valid(other.depth)
    z, close = seen[inside, 2], gap[rows, columns] <= MAX_GAP_PX
    return np.abs(nearest[rows, columns] - z)[close] / z[close]


def _nearest_valid(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance in pixels (H, W) to the nearest valid depth, and that depth (H, W)."""
    known = depth > 0
    gap, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(labels.max() + 1, dtype=np.float32)
    by_label[labels[known]] = depth[known]
    return gap, by_label[labels]
