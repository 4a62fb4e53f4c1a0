"""One activation of the node: images in, worker, publishing thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, closing

from rclpy.lifecycle import LifecycleNode

from ...mapping.data.frames import Frame
from ...mapping.front_end.window_result import WindowResult
from ...mapping.loop_closer import LoopCloser
from ...mapping.maps.saved_map import SavedMap
from ...mapping.relocalization import load_saved_map
from ...mapping.worker import Worker
from ..complaints import Complaints
from ..inputs.intake import Intake
from ..outputs.publishing import PublishingThread
from ..parameters import Parameters
from .parts import Parts


class Stream:
    """Runs from construction to `stop`. Frames that come while it is paused are not looked at."""

    def __init__(
        self, node: LifecycleNode, parts: Parts, parameters: Parameters, complain: Complaints,
        published: Callable[[], None],
    ) -> None:  # fmt: skip
        """``published`` is called after windows, by the publisher."""
        self.paused = False
        self.last_window: WindowResult | None = None
        self.window_problem = ""  # of the latest window; empty: there was none
        self._engine, self._map, self._builder = parts.engine, parts.map, parts.builder
        self._complain = complain
        self.loops = LoopCloser(parts.engine, parts.map, node.get_logger().info)
        self.publishing = PublishingThread(
            parts.outputs, parts.builder, parts.engine.counters,
            config=lambda: parameters.current.node,
            budget_ms=lambda: parameters.current.mapper.budget.latency_ms,
            now_ns=lambda: node.get_clock().now().nanoseconds,
            fail=lambda error: complain(f"publication failed: {describe_error(error)}"),
            published=published,
        )  # fmt: skip
        self.worker = Worker(parts.engine, self._deliver, self._on_failure, self._close_loops)
        config = parameters.current.node
        cameras = config.cameras.names or ("",)
        with ExitStack() as opened:  # if one fails, none stays subscribed
            self.intakes = [opened.enter_context(closing(Intake(node, config, self._offer, c))) for c in cameras]
            self._subscribed = opened.pop_all()
        self.publishing.start()
        self.worker.start()

    def stop(self) -> None:
        """First nothing comes in any more, then both threads end."""
        self._subscribed.close()
        self.worker.stop()
        self.publishing.stop()

    def follow(self) -> None:
        """The cameras' publishers, as they come and go."""
        for intake in self.intakes:
            intake.follow()

    @property
    def intake(self) -> Intake:
        """Of the first camera."""
        return self.intakes[0]

    def restart(self) -> Future[None]:
        """Between two windows; the next one begins another map."""

        def action() -> None:
            self._engine.begin_anew()
            self._map.restart()

        return self.worker.request(action)

    def load(self, saved: SavedMap) -> Future[None]:
        """Between two windows; the next one begins another map beside it."""

        def action() -> None:
            load_saved_map(saved, self._engine, self._map, self._builder)
            self.publishing.renew_map()

        return self.worker.request(action)

    def _offer(self, frame: Frame) -> None:
        if not self.paused:
            self.worker.offer(frame)

    def _deliver(self, result: WindowResult) -> None:
        finished_ns = time.monotonic_ns()
        placed = self._map.place(result)  # it may wait for transforms
        self.last_window = placed.window
        if (latency := self.publishing.latency) is not None:
            self._engine.overhead_ms = latency.overhead_ms
        self.publishing.deliver(placed, finished_ns)
        self.window_problem = ""

    def _close_loops(self, waited_ms: float) -> None:
        try:
            self.loops.work(waited_ms)
        except Exception as error:  # the stream goes on without this loop
            self._complain(f"a loop could not be checked: {describe_error(error)}")

    def _on_failure(self, error: Exception) -> None:
        self.window_problem = f"a window failed: {describe_error(error)}"
        self._complain(self.window_problem)


def describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
