"""What the node says of itself, on `status` and /diagnostics; the keys are documented in docs/node.md."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ..engine.config import EngineConfig
from ..engine.engine import Engine
from .config import NodeConfig
from .outputs import Outputs
from .stream import Stream


@dataclass(frozen=True, eq=False)
class Condition:
    """All that the status is made from; None where the node's state has no such thing."""

    name: str
    label: str  # of the lifecycle
    node: NodeConfig
    engine_config: EngineConfig
    engine: Engine | None
    outputs: Outputs | None
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
    stream, outputs, node = condition.stream, condition.outputs, condition.node
    if stream is None or outputs is None:
        return DiagnosticStatus.OK, condition.label
    images = stream.intake.images
    silence_s = stream.intake.silence_s
    if not images.num_publishers:
        return DiagnosticStatus.WARN, f"nobody publishes {images.topic}"
    if silence_s > node.stale_after_s:
        return DiagnosticStatus.ERROR, (
            f"no image on {images.topic} for {silence_s:.0f} s although it has a publisher; with best effort and the "
            "default transport big images get lost: see config/fastdds.xml, or set image_reliability "
            f"(now {images.reliability.name.lower()})"
        )
    if stream.paused:
        return DiagnosticStatus.OK, "paused"
    if outputs.tf_problem:
        return DiagnosticStatus.WARN, f"TF: {outputs.tf_problem}"
    if not node.publish_unscaled:
        return (
            DiagnosticStatus.WARN,
            "depth, points, poses and TF are withheld: their scale is unknown (publish_unscaled)",
        )
    if stream.intake.camera_info_problem:
        return DiagnosticStatus.WARN, f"camera_info: {stream.intake.camera_info_problem}"
    return DiagnosticStatus.OK, "reconstructing, lengths up to one unknown scale"


def configuration_values(condition: Condition) -> dict[str, str]:
    engine = condition.engine
    values = {"scale_state": "unscaled", "scale_source": "none", "gravity": "assumed"}
    values["latency_budget_ms"] = f"{condition.engine_config.latency_budget_ms:.0f}"
    if engine is None:
        return values
    device = engine.predictor.device
    values["device"] = str(device)
    if device.type == "cuda":
        values["gpu_memory_mb"] = f"{torch.cuda.memory_reserved(device) / 2**20:.0f}"
    limits = engine.limits
    return values | {"k_range": f"{limits.k_min} to {limits.k_max}"}


def stream_values(condition: Condition) -> dict[str, str]:
    stream, engine = condition.stream, condition.engine
    if stream is None or engine is None:
        return {}
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
            "seam": window.seam.state,
            "seam_residual": _number(window.seam.residual, 4),
            "ladder": engine.ladder,
        }
    if latency is not None:
        values |= {
            "latency_ms": _number(latency.reception_to_publication_ms),
            "stamp_to_publication_ms": _number(latency.stamp_to_publication_ms),
            "own_ms": _number(latency.own_ms),
            "budget_misses": str(latency.misses),
        }
    if (published_ns := stream.publishing.last_published_ns) is not None:
        values["since_publication_s"] = f"{(time.monotonic_ns() - published_ns) * 1e-9:.1f}"
    return values


def _number(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"
