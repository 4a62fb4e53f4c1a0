"""Status of the node, on `status` and /diagnostics; the reference documents the keys."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ...backends import checkpoint_title
from ...health import Health, Level, worst
from ...mapping.inference.dvlt_predictor import DvltPredictor
from ..config import Settings
from ..inputs.intake import Intake
from .parts import Parts
from .stream import Stream

# In the order of the pipeline, one diagnostic task each. Of several of the worst level the first gives the message.
COMPONENTS = (
    "camera", "mapping", "publication", "tf", "images", "refinement", "registration", "scale", "localization", "output",
    "cameras", "camera_info", "masks", "gravity", "odometry", "loops", "grid",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Condition:
    """Condition of the node; None: not present in this state of the lifecycle."""

    name: str
    label: str  # of the lifecycle
    settings: Settings
    parts: Parts | None
    stream: Stream | None
    complaint: str


def status_message(condition: Condition) -> DiagnosticStatus:
    """Level and message are those of the worst component."""
    found = summary(condition)
    values = {"state": condition.label} | stream_values(condition) | configuration_values(condition)
    if condition.complaint:
        values["last_problem"] = condition.complaint
    return DiagnosticStatus(
        level=bytes([found.level]), name=condition.name, message=found.text, hardware_id="dvlt_ros",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )  # fmt: skip


def summary(condition: Condition) -> Health:
    """Health of the node as a whole."""
    if condition.stream is None or condition.parts is None:
        return Health.ok(condition.label)
    found = components(condition)
    if condition.stream.paused and found["camera"].level == Level.OK:
        return Health.ok("paused")
    if (most := worst(found.values())).level != Level.OK:
        return most
    lengths = "in metres" if condition.parts.mapper.sensors.tell_metres else "lengths up to one unknown scale"
    return Health.ok(f"reconstructing, {lengths}")


def components(condition: Condition) -> dict[str, Health]:
    """Health of every component that is in use, by the names of COMPONENTS."""
    stream, parts = condition.stream, condition.parts
    output = condition.settings.node.output
    if stream is None or parts is None:
        return {}
    mapper = parts.mapper.status.health
    found = {
        "camera": cameras_health([intake_health(intake, output.stale_after_s) for intake in stream.intakes]),
        "tf": parts.outputs.tf_health(worst(mapper.values())),
        "output": Health.ok(),
        **dict.fromkeys(("mapping", "publication", "camera_info"), Health.ok()),  # until they post a notice
        **{component: notice.health for component, notice in stream.board.read().items()},
        **mapper,
    }
    if not (parts.mapper.sensors.tell_metres or output.publish_unscaled):
        found["output"] = Health.warn(
            "depth, points, poses and TF are withheld: their scale is unknown (output.publish_unscaled, or "
            "odometry.source)"
        )
    return {name: found[name] for name in COMPONENTS if name in found}


def cameras_health(found: list[Health]) -> Health:
    """Health of all cameras: an error only if all of them are silent."""
    silent = [health for health in found if health.level != Level.OK]
    if len(silent) == len(found):
        return silent[0]
    return Health.warn(f"the other cameras go on: {silent[0].text}") if silent else Health.ok()


def intake_health(intake: Intake, stale_after_s: float) -> Health:
    """Health of one camera: whether images arrive. A driver that has died is as bad as one that is stuck."""
    silence_s = intake.silence_s
    if silence_s <= stale_after_s:
        return Health.ok()
    ever = "" if intake.has_images else " since the activation, none ever"
    return Health.error(f"no image on {intake.images.topic} for {silence_s:.1f} s{ever}: {intake.images.silence()}")


def configuration_values(condition: Condition) -> dict[str, str]:
    parts, values = condition.parts, {"latency_budget_ms": f"{condition.settings.mapper.budget.latency_ms:.0f}"}
    if parts is None:
        return values | {"scale_state": "unscaled", "scale_source": "none", "gravity": "assumed"}
    values |= window_independent(parts.mapper.status.values)
    predictor = parts.mapper.predictor
    device, model = predictor.device, condition.settings.mapper.model
    values |= {"model": model.name, "checkpoint": checkpoint_title(model.name, model.weights), "device": str(device)}
    if isinstance(predictor, DvltPredictor):
        values["precision"] = predictor.precision
    if device.type == "cuda":
        values["gpu_memory_mb"] = f"{torch.cuda.memory_reserved(device) / 2**20:.0f}"
    return values


def window_independent(values: Mapping[str, str]) -> dict[str, str]:
    """Values of the mapper that are also valid without a stream."""
    kept = ("k_range", "scale_", "metres_per_unit", "odometry_", "depth_", "gravity", "loops")
    return {key: value for key, value in values.items() if key.startswith(kept)}


def stream_values(condition: Condition) -> dict[str, str]:
    stream, parts = condition.stream, condition.parts
    if stream is None or parts is None:
        return {}
    counts = parts.mapper.counters.read()
    values = {name: str(getattr(counts, name)) for name in counts.__dataclass_fields__}
    values |= {"in_flight": str(counts.in_flight), **parts.mapper.status.values}
    if (masks := stream.board.read().get("masks")) is not None:
        values |= masks.values
    if (latency := stream.board.read().get("latency")) is not None:
        values |= latency.values
        values["since_publication_s"] = f"{(time.monotonic_ns() - latency.posted_ns) * 1e-9:.1f}"
    return values
