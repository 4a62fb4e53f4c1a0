"""What the node says of itself, on `status` and /diagnostics; the keys are documented in docs/node.md."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ...mapping.front_end.front_end import FrontEnd
from ...mapping.keyframes.admission import BLANK
from ...mapping.maps.metric_map import MetricMap
from ...mapping.relocalization import relocalized
from ..config import Settings
from ..inputs.intake import Intake
from .parts import Parts
from .stream import Stream


@dataclass(frozen=True, eq=False)
class Condition:
    """Of the node; None where its state has no such thing."""

    name: str
    label: str  # of the lifecycle
    settings: Settings
    parts: Parts | None
    stream: Stream | None
    complaint: str


def status_message(condition: Condition) -> DiagnosticStatus:
    """The worst problem decides level and message."""
    level, message = assess(condition)
    values = {"state": condition.label} | stream_values(condition) | configuration_values(condition)
    if condition.complaint:
        values["last_problem"] = condition.complaint
    return DiagnosticStatus(
        level=level, name=condition.name, message=message, hardware_id="dvlt_ros",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )  # fmt: skip


def assess(condition: Condition) -> tuple[bytes, str]:
    stream, parts, output = condition.stream, condition.parts, condition.settings.node.output
    if stream is None or parts is None:
        return DiagnosticStatus.OK, condition.label
    outputs, metric = parts.outputs, parts.metric
    missing = [
        found for intake in stream.intakes if (found := images_missing(intake, output.stale_after_s)) is not None
    ]
    if len(missing) == len(stream.intakes):
        return missing[0]
    if stream.paused:
        return DiagnosticStatus.OK, "paused"
    if missing:
        return DiagnosticStatus.WARN, f"the other cameras go on: {missing[0][1]}"
    if problem := stream.window_problem or stream.publishing.problem:
        return DiagnosticStatus.ERROR, problem
    if outputs.tf_problem:
        return DiagnosticStatus.WARN, f"TF: {outputs.tf_problem}"
    if problem := parts.engine.sight_problem:
        level = DiagnosticStatus.ERROR if outputs.tf_is_stale else DiagnosticStatus.WARN
        return level, f"the map waits: {problem}"
    if metric is not None:
        if metric.status.state != "locked":
            return DiagnosticStatus.WARN, f"depth, points, poses and TF are withheld: {scale_problem(metric)}"
        if outputs.tf_is_stale:
            return (
                DiagnosticStatus.ERROR,
                f"map -> odom has ended: no metric window for {output.stale_after_s:g} s",
            )
    elif not output.publish_unscaled:
        return (
            DiagnosticStatus.WARN,
            "depth, points, poses and TF are withheld: their scale is unknown (output.publish_unscaled, or "
            "odometry.source)",
        )
    if problem := camera_problem(parts.engine, stream) or gravity_problem(parts.engine) or odometry_problem(metric):
        return DiagnosticStatus.WARN, problem
    lengths = "lengths up to one unknown scale" if metric is None else "in metres"
    return DiagnosticStatus.OK, f"reconstructing, {lengths}"


def images_missing(intake: Intake, stale_after_s: float) -> tuple[bytes, str] | None:
    """Level and reason if a camera sends nothing."""
    images, silence_s = intake.images, intake.silence_s
    if not images.num_publishers:
        return DiagnosticStatus.WARN, f"nobody publishes {images.topic}"
    if silence_s <= stale_after_s:
        return None
    return DiagnosticStatus.ERROR, (
        f"no image on {images.topic} for {silence_s:.0f} s although it has a publisher; with best effort and the "
        "default transport big images get lost: see config/fastdds.xml, or set input.reliability "
        f"(now {images.reliability.name.lower()})"
    )


def camera_problem(engine: FrontEnd, stream: Stream) -> str:
    """What is wrong with the cameras although images come."""
    rig = engine.rig
    if rig is not None and rig.synchronizer.problem:
        return f"cameras: {rig.synchronizer.problem}"
    if covered := engine.covered:
        return f"cameras: {', '.join(sorted(covered))}: {BLANK}"
    residual_deg = _mount_residual_deg(stream)
    if rig is not None and residual_deg is not None and residual_deg > rig.config.max_residual_deg:
        return f"cameras: seen {residual_deg:.1f} degrees from their mounts, which are not believed; is TF right?"
    return next((f"camera_info: {i.camera_info_problem}" for i in stream.intakes if i.camera_info_problem), "")


def scale_problem(metric: MetricMap) -> str:
    reasons = [reason for reason in (metric.status.reason, metric.problem) if reason]
    if metric.depth is not None and metric.depth.problem not in metric.status.reason:
        reasons.append(metric.depth.problem)
    return f"their scale is {metric.status.state}: {'; '.join(reasons) or 'no window yet'}"


def odometry_problem(metric: MetricMap | None) -> str:
    """Why lengths are in metres but poses may be wrong."""
    return "" if metric is None else metric.disagreement


def gravity_problem(engine: FrontEnd) -> str:
    """Why the map is not level although it should be."""
    gravity = engine.gravity
    if gravity is None or gravity.state or not gravity.problem:
        return ""
    return f"the map is not level by gravity: {gravity.problem}"


def gravity_values(parts: Parts | None) -> dict[str, str]:
    metric, engine = (None, None) if parts is None else (parts.metric, parts.engine)
    values = {"gravity": "assumed" if engine is None or engine.rig is None else "mount"}
    if metric is not None and metric.has_odometry:
        values["gravity"] = "odometry"
    if engine is None or engine.gravity is None:
        return values
    values["gravity"] = engine.gravity.state or values["gravity"]
    return values | {"gravity_problem": engine.gravity.problem or "none"}


def configuration_values(condition: Condition) -> dict[str, str]:
    parts = condition.parts
    values = scale_values(None if parts is None else parts.metric) | gravity_values(parts)
    values["latency_budget_ms"] = f"{condition.settings.mapper.budget.latency_ms:.0f}"
    if parts is None:
        return values
    device = parts.engine.predictor.device
    values |= {"model": condition.settings.mapper.model.name, "device": str(device)}
    if device.type == "cuda":
        values["gpu_memory_mb"] = f"{torch.cuda.memory_reserved(device) / 2**20:.0f}"
    values["loops"] = "on" if parts.loops.detector is not None else f"off: {parts.loops.reason}"
    limits = parts.engine.limits
    return values | {"k_range": f"{limits.k_min} to {limits.k_max}"}


def scale_values(metric: MetricMap | None) -> dict[str, str]:
    if metric is None:
        return {"scale_state": "unscaled", "scale_source": "none"}
    status = metric.status
    values = {
        "scale_state": status.state,
        "scale_source": status.source or "none",
        "metres_per_unit": _number(status.metres_per_unit, 4),
        "scale_residual": _number(status.residual, 3),
    }
    if metric.has_odometry:
        values["odometry_problem"] = metric.problem or metric.disagreement or "none"
    if metric.depth is not None:
        values["depth_problem"] = metric.depth.problem or "none"
    return values


def stream_values(condition: Condition) -> dict[str, str]:
    stream, parts = condition.stream, condition.parts
    if stream is None or parts is None:
        return {}
    engine = parts.engine
    counts, window, latency = engine.counters.read(), stream.last_window, stream.publishing.latency
    values = {name: str(getattr(counts, name)) for name in counts.__dataclass_fields__}
    values["in_flight"] = str(counts.in_flight)
    if window is not None:
        values |= {
            "k": str(window.plan.num_steps),
            "window": f"{len(window.reconstructions)} new of {window.num_views}",
            "image_size": str(window.image_size),
            "predicted_ms": _number(window.plan.predicted_ms),
            "window_ms": _number(window.window_ms),
            "waited_ms": _number(window.waited_ms),
            "map_id": str(window.map_id),
            "registration": window.registration.state,
            "registration_residual": _number(window.registration.residual, 4),
            "quality_levels": engine.quality_levels,
        }
    if engine.loops is not None:
        loops = stream.loops.status
        values |= {
            "places": str(len(engine.loops)),
            "loops_closed": str(loops.closed),
            "loops_refused": str(loops.refused),
            "loop_residual": _number(loops.residual, 4),
            "loop_refusal": loops.refusal or "none",
            "relocalized": relocalized(parts.loops, None if window is None else window.map_id, loops.refusal),
        }
    if engine.rig is not None:
        values |= {
            "cameras": ", ".join(engine.rig.cameras),
            "cameras_silent": ", ".join(engine.rig.synchronizer.silent) or "none",
            "rig_residual_deg": _number(_mount_residual_deg(stream)),
        }
    if latency is not None:
        values |= {
            "latency_ms": _number(latency.reception_to_publication_ms),
            "stamp_to_publication_ms": _number(latency.stamp_to_publication_ms),
            "overhead_ms": _number(latency.overhead_ms),
            "budget_misses": str(latency.misses),
        }
    if (published_ns := stream.publishing.last_published_ns) is not None:
        values["since_publication_s"] = f"{(time.monotonic_ns() - published_ns) * 1e-9:.1f}"
    return values


def _mount_residual_deg(stream: Stream) -> float | None:
    window = stream.last_window
    return None if window is None or window.rig is None else window.rig.residual_deg


def _number(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"
