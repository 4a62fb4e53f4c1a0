"""`ros2 run dvlt_ros dvlt_reconstruct`: a lifecycle node from camera images to depth, points, poses and a map.

configure   loads the weights, warms up, makes the publishers
activate    subscribes, starts the mapping and the publishing thread
deactivate  stops both
cleanup     frees the device
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_updater import DiagnosticStatusWrapper, Updater
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from .. import programs
from ..backends import checkpoint_title
from ..errors import DvltError
from ..health import Health, Level
from ..parameter_names import renamed
from .complaints import Complaints
from .config import Settings
from .lifecycle.health_log import HealthLog
from .lifecycle.parts import Parts, assemble
from .lifecycle.services import Services
from .lifecycle.status import COMPONENTS, Condition, components, status_message
from .lifecycle.stream import Stream
from .parameters import Parameters, unknown_parameters
from .process import settle_process
from .program import ros_program, spin

FOLLOW_PERIOD_S = 0.5
STATUS_PERIOD_S = 1.0


class ReconstructNode(LifecycleNode):
    """Connects mapper, topics, parameters and services to the lifecycle."""

    def __init__(self, name: str = "dvlt", **options: Any) -> None:
        """``options`` are those of rclpy's LifecycleNode."""
        super().__init__(name, **options)
        self._parts: Parts | None = None  # from configure to cleanup
        self._stream: Stream | None = None  # while active
        self._label = "unconfigured"
        logger = self.get_logger()
        self._complaints = Complaints(logger.warning)
        self._health_log = HealthLog(
            {  # each on a line of its own: rclpy lets no line change its severity
                Level.OK: lambda text: logger.info(text),
                Level.WARN: lambda text: logger.warning(text),
                Level.ERROR: lambda text: logger.error(text),
            }
        )
        self._settings = Parameters(self, lambda: self._parts is not None, self._on_parameters)
        self._requests = Services(self, self._condition)
        self._status = self.create_publisher(DiagnosticStatus, "status", 5)
        self._updater = Updater(self)
        self._updater.setHardwareID("dvlt_ros")
        self._updater.add("reconstruction", self._diagnose)
        for problem in unknown_parameters(self):
            self.get_logger().warning(problem)
        for component in COMPONENTS:
            self._updater.add(component, partial(self._diagnose_component, component))
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # the timers go on while simulated time stands still
        self.create_timer(STATUS_PERIOD_S, self._look, clock=steady)
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)

    # Lifecycle: a transition that fails logs its reason and changes nothing.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("configure", "inactive", self._configure, undo=self._cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def activate() -> None:
            super(ReconstructNode, self).on_activate(state)  # the publishers
            self._activate()

        return self._transition("activate", "active", activate, undo=lambda: self._stop(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("deactivate", "inactive", lambda: self._stop(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("clean up", "unconfigured", self._cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("shut down", "finalized", self.close)

    def close(self) -> None:
        """Stops everything, in any state."""
        self._deactivate()
        self._requests.close()
        self._cleanup()

    def _transition(
        self, name: str, label: str, action: Callable[[], object], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            detail = str(error) if isinstance(error, DvltError) else traceback.format_exc()
        else:
            self._label = label
            return TransitionCallbackReturn.SUCCESS
        self.get_logger().error(f"cannot {name}: {detail}")
        if undo is not None:
            undo()  # after the except block, since the exception keeps its frames alive
        return TransitionCallbackReturn.FAILURE

    def _configure(self) -> None:
        self._parts = assemble(self, self._settings, self._complaints)
        gc.freeze()  # garbage collections during a window then skip the network
        mapper, settings = self._parts.mapper, self._settings.current
        model, node = settings.mapper.model, settings.node
        what = f"{checkpoint_title(model.name, model.weights)} on {mapper.predictor.device}"
        self.get_logger().info(f"ready with {what}, K from {mapper.status.values['k_range']}")
        if node.output.publish_unscaled and not node.has_metric_source:
            self.get_logger().warning("output.publish_unscaled: lengths are NOT metres but up to one unknown factor")

    def _activate(self) -> None:
        assert self._parts is not None
        self._stream = Stream(self, self._parts, self._settings, self._complaints, self._publish_status)

    def _stop(self, state: LifecycleState) -> None:
        self._deactivate()
        super().on_deactivate(state)  # the publishers

    def _deactivate(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        if self._parts is not None and self._parts.anchor is not None:
            self._parts.anchor.stop()

    def _cleanup(self) -> None:
        if self._parts is not None:
            self._parts.close()
            self._parts = None
        self._complaints.clear()
        gc.unfreeze()
        gc.collect()  # threads and callbacks form reference cycles that hold the network
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # Parameters and timers

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Called by `ros2 param set`; the answer to an old name gives the new one."""
        if reason := renamed(parameter.name for parameter in parameter_list):
            return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)

    def _on_parameters(self, settings: Settings) -> None:
        if self._parts is not None:
            self._parts.configure(settings)

    def _follow(self) -> None:
        if self._stream is not None:
            self._stream.follow()
        if self._parts is not None and self._parts.sensors is not None:
            self._parts.sensors.follow()

    def _condition(self) -> Condition:
        return Condition(
            self.get_fully_qualified_name(), self._label, self._settings.current, self._parts, self._stream,
            self._complaints.latest,
        )  # fmt: skip

    def _look(self) -> None:
        """Once a second: troubles to the console, the status to whoever listens."""
        self._health_log.follow(components(self._condition()), time.monotonic())
        self._publish_status()

    def _publish_status(self) -> None:
        if self._status.get_subscription_count():
            self._status.publish(status_message(self._condition()))

    def _diagnose(self, status: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        message = status_message(self._condition())
        status.summary(message.level, message.message)
        for value in message.values:
            status.add(value.key, value.value)
        return status

    def _diagnose_component(self, name: str, status: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        health = components(self._condition()).get(name, Health.ok("not in use"))
        status.summary(bytes([health.level]), health.text or "OK")
        return status


def main(args: Sequence[str] | None = None) -> None:
    with ros_program("dvlt_reconstruct", __doc__, args):
        settle_process()
        node = ReconstructNode()
        try:
            spin(node)
        finally:
            node.close()
            node.destroy_node()


if __name__ == "__main__":
    programs.run(main)
