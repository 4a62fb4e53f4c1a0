"""What came out, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from ..health import Level
from ..mapping.mapper import Mapper
from ..sources import Source
from .results import METRES, UNPLACED, UNSCALED, Results
from .sensors import RecordedSensors


def lengths_of(results: Results, recorded: RecordedSensors, mapper: Mapper, network: str) -> str:
    """Whether they are metres, of how many frames, and why not; ``network`` is the checkpoint's title."""
    if not recorded.metres_by:
        return f"{UNSCALED} each"
    sources = " and ".join(recorded.metres_by)
    status = mapper.status
    unplaced = results.num_frames - results.num_placed
    where = f"in {UNPLACED}*, {UNSCALED}"
    if not results.num_placed:
        scale = status.health["scale"]
        reason = "too few frames" if scale.level == Level.OK else scale.text
        return (
            f"NOT IN METRES: with {sources} the scale was never certain ({reason}); seen by {network}; "
            f"all frames are {where}; "
            + ("--odom none maps without odometry, loops included" if recorded.odometry else "")
        ).removesuffix("; ")
    residual = status.values["scale_residual"]
    said = "" if residual == "unknown" else f", residual {residual}"
    disagreement = status.health["odometry"].text if "odometry" in status.health else ""
    doubt = f" ({disagreement})" if disagreement else ""
    rest = f", but for {unplaced} frames {where}" if unplaced else ""
    return f"{METRES} by {sources}{said}{doubt}{rest}"


def refusals_of(source: Source, mapper: Mapper, said: Sequence[str]) -> str:
    """How many images could not be used, with the first of each kind; ``said`` are the mapper's own refusals."""
    count = mapper.counters.read().refused + source.refusals.count
    examples = [str(source.refusals).partition(", e.g. ")[2]] if source.refusals.count else []
    examples += said[:1]
    return f"{count} refused" + (f", e.g. {'; '.join(examples)}" if examples else "")


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


def gravity_of(mapper: Mapper) -> str:
    """Why maps are not level although they should be; empty: they are, or nobody has asked."""
    health = mapper.status.health
    return f"{health['gravity'].text}; " if "gravity" in health and health["gravity"].text else ""


def relocalization_of(mapper: Mapper) -> str:
    """Whether the recording has found itself in the map that was loaded; empty: none was."""
    found = mapper.status.values.get("relocalized", "no saved map")
    return "" if found == "no saved map" else f"relocalized in the loaded map: {found}; "
