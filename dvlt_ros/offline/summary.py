"""What came out, in a sentence."""

from __future__ import annotations

from ..mapping.loop_closer import LoopParts, LoopStatus
from ..mapping.maps.metric_map import MetricMap
from ..mapping.maps.unscaled_map import UnscaledMap
from ..sources import Source
from .odometry import CameraOdometry
from .results import METRES, UNPLACED, UNSCALED, Results


def lengths_of(results: Results, odometry: CameraOdometry | None, map_: MetricMap | UnscaledMap) -> str:
    """Whether they are metres, of how many frames, and why not."""
    if odometry is None or isinstance(map_, UnscaledMap):
        return f"{UNSCALED} each"
    status = map_.status
    unplaced = results.num_frames - results.num_placed
    where = f"in {UNPLACED}*, {UNSCALED}"
    if not results.num_placed:
        reason = status.reason or map_.problem or "too few frames"
        return (
            f"NOT IN METRES: with {odometry.name} the scale was never certain ({reason}); all frames are {where}; "
            "--odom none maps without odometry, loops included"
        )
    residual = "" if status.residual is None else f", residual {status.residual:.3f}"
    doubt = f" ({map_.disagreement})" if map_.disagreement else ""
    rest = f", but for {unplaced} frames {where}" if unplaced else ""
    return f"{METRES} by {odometry.name}{residual}{doubt}{rest}"


def cameras_of(source: Source) -> str:
    """Why intrinsics were fitted although a camera is recorded; empty: they were not."""
    return f"without camera_info: {source.camera_problem}; " if source.camera_problem else ""


def loops_of(parts: LoopParts, status: LoopStatus) -> str:
    """How many were closed and refused."""
    if parts.detector is None:
        return f"no loops closed ({parts.reason})"
    residual = "" if status.residual is None else f", residual {status.residual:.3f}"
    return f"loops: {status.closed} closed{residual}, {status.refused} refused"
