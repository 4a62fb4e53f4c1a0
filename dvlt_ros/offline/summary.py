"""What came out, in a sentence."""

from __future__ import annotations

from ..health import Level
from ..mapping.mapper import Mapper
from ..sources import Source
from .odometry import CameraOdometry
from .results import METRES, UNPLACED, UNSCALED, Results


def lengths_of(results: Results, odometry: CameraOdometry | None, mapper: Mapper) -> str:
    """Whether they are metres, of how many frames, and why not."""
    if odometry is None:
        return f"{UNSCALED} each"
    status = mapper.status
    unplaced = results.num_frames - results.num_placed
    where = f"in {UNPLACED}*, {UNSCALED}"
    if not results.num_placed:
        scale = status.health["scale"]
        reason = "too few frames" if scale.level == Level.OK else scale.text
        return (
            f"NOT IN METRES: with {odometry.name} the scale was never certain ({reason}); all frames are {where}; "
            "--odom none maps without odometry, loops included"
        )
    residual = status.values["scale_residual"]
    said = "" if residual == "unknown" else f", residual {residual}"
    disagreement = status.health["odometry"].text
    doubt = f" ({disagreement})" if disagreement else ""
    rest = f", but for {unplaced} frames {where}" if unplaced else ""
    return f"{METRES} by {odometry.name}{said}{doubt}{rest}"


def cameras_of(source: Source) -> str:
    """Why intrinsics were fitted although a camera is recorded; empty: they were not."""
    return f"without camera_info: {source.camera_problem}; " if source.camera_problem else ""


def loops_of(mapper: Mapper) -> str:
    """How many were closed and refused."""
    values = mapper.status.values
    if "loops_closed" not in values:
        return f"no loops closed ({mapper.loops.reason})"
    residual = "" if values["loop_residual"] == "unknown" else f", residual {float(values['loop_residual']):.3f}"
    return f"loops: {values['loops_closed']} closed{residual}, {values['loops_refused']} refused"
