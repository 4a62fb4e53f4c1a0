"""Status of the mapper: the health of each component, and values by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..health import Health
from .data.frames import Reconstruction
from .front_end.front_end import FrontEnd
from .inference.refining import RefiningPredictor
from .loop_closer import LoopCloser
from .maps.map_update import MapUpdate
from .maps.metric_map import MetricMap
from .maps.placed_map import PlacedMap


@dataclass(frozen=True)
class MapperStatus:
    """Immutable, so that any thread may read it; the reference documents the keys of the values."""

    health: Mapping[str, Health] = field(default_factory=dict)  # by component, in the order of the pipeline
    values: Mapping[str, str] = field(default_factory=dict)


def status_of(
    front_end: FrontEnd, placed: PlacedMap, closer: LoopCloser, latest: MapUpdate | None
) -> MapperStatus:  # fmt: skip
    health, values = front_end.health(), window_values(front_end, latest)
    if isinstance(placed, MetricMap):
        health |= placed.health()
    values |= scale_values(placed) | gravity_values(front_end, placed) | closer.values(latest)
    if isinstance(front_end.predictor, RefiningPredictor):
        health["refinement"] = front_end.predictor.health()
    if (localization := closer.localization(latest)) is not None:
        health["localization"], values["place_seen_s"] = localization
    health |= steps_health(front_end.limits.k_max, front_end.predictor.max_steps)
    health["loops"] = closer.health()
    return MapperStatus(health, values)


def steps_health(k_max: int, trained: int) -> dict[str, Health]:
    """Of a K beyond the trained one; what was measured: docs/how-to/probes.md."""
    if k_max <= trained:
        return {}
    return {
        "steps": Health.warn(
            f"budget.k_max {k_max} is {k_max / trained:.1f} times the {trained} steps that were trained; "
            "with dvlt-nano rotations worsen first, by 8 % at 1.5 times and 29 % at 2, then depth, by 2 % at 2 times "
            "and 10 % at 4"
        )
    }


def window_values(front_end: FrontEnd, latest: MapUpdate | None) -> dict[str, str]:
    """Values of the latest window, its plan and its registration."""
    values = {"k_range": f"{front_end.limits.k_min} to {front_end.limits.k_max}"}
    if latest is not None and (window := latest.window) is not None:
        values |= {
            "k": str(window.plan.num_steps),
            "references": str(window.plan.references),
            "window": f"{len(window.reconstructions)} new of {window.num_views}",
            "image_size": str(window.image_size),
            "predicted_ms": number(window.plan.predicted_ms),
            "window_ms": number(window.window_ms),
            "waited_ms": number(window.waited_ms),
            "map_id": str(window.map_id),
            "registration": window.registration.state,
            "registration_residual": number(window.registration.residual, 4),
            "quality_level": front_end.quality_level,
        }
        if (share := masked_share(window.reconstructions)) is not None:
            values["masked"] = f"{share:.1%}"
    if isinstance(front_end.predictor, RefiningPredictor):
        values["refinement"] = front_end.predictor.described()
        values["refinement_cut_short"] = front_end.predictor.cut_short()
    if (rig := front_end.rig) is not None:
        values |= {
            "cameras": ", ".join(rig.cameras),
            "cameras_silent": ", ".join(rig.synchronizer.silent) or "none",
            "rig_residual_deg": number(front_end.rig_residual_deg),
        }
    return values


def scale_values(placed: PlacedMap) -> dict[str, str]:
    if not isinstance(placed, MetricMap):
        return {"scale_state": "unscaled", "scale_source": "none"}
    status = placed.status
    values = {
        "scale_state": status.state,
        "scale_source": status.source or "none",
        "metres_per_unit": number(status.metres_per_unit, 4),
        "scale_residual": number(status.residual, 3),
    }
    if placed.has_odometry:
        values["odometry_problem"] = placed.problem or placed.disagreement or "none"
    if placed.depth is not None:
        values["depth_problem"] = placed.depth.problem or "none"
    return values


def gravity_values(front_end: FrontEnd, placed: PlacedMap) -> dict[str, str]:
    """Where the vertical of the map comes from."""
    source = "assumed" if front_end.rig is None else "mount"
    if isinstance(placed, MetricMap) and placed.has_odometry:
        source = "odometry"
    if front_end.gravity is None:
        return {"gravity": source}
    gravity = front_end.gravity
    return {"gravity": gravity.state or source, "gravity_problem": gravity.problem or "none"}


def masked_share(frames: Sequence[Reconstruction]) -> float | None:
    """Of the pixels of these frames, what is masked; None: nothing is."""
    counts = [(frame.masked.sum(), frame.masked.size) for frame in frames if frame.masked is not None]
    if not counts:
        return None
    masked, pixels = np.sum(counts, axis=0)
    return float(masked / pixels)


def number(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"
