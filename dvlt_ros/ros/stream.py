"""One activation of the node: images in, worker, publishing thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from rclpy.lifecycle import LifecycleNode

from ..engine.frames import Frame
from ..engine.loop_closer import LoopCloser
from ..engine.relocalisation import load_saved_map
from ..engine.results import WindowResult
from ..engine.saved_map import SavedMap
from ..engine.worker import Worker
from ..errors import ConfigError
from .complaints import Complaints
from .intake import Intake
from .parameters import Parameters
from .parts import Parts
from .publishing import PublishingThread


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
        self._loaded: Future[None] | None = None  # of the latest map to be loaded
        self.loops = LoopCloser(parts.engine, parts.map, node.get_logger().info)
        self.publishing = PublishingThread(
            parts.outputs, parts.builder, parts.engine.counters,
            config=lambda: parameters.current.node,
            budget_ms=lambda: parameters.current.engine.latency_budget_ms,
            now_ns=lambda: node.get_clock().now().nanoseconds,
            fail=lambda error: complain(f"publication failed: {describe_error(error)}"),
            published=published,
        )  # fmt: skip
        self.worker = Worker(parts.engine, self._deliver, self._on_failure, self._close_loops)
        config = parameters.current.node
        self.intakes = [Intake(node, config, self._offer, camera) for camera in config.cameras or ("",)]
        self.publishing.start()
        self.worker.start()

    def stop(self) -> None:
        """First nothing comes in any more, then both threads end."""
        for intake in self.intakes:
            intake.close()
        self.worker.stop()
        self.publishing.stop()
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(ConfigError("the node was deactivated before its turn came"))

    def follow(self) -> None:
        """The cameras' publishers, as they come and go."""
        for intake in self.intakes:
            intake.follow()

    @property
    def intake(self) -> Intake:
        """Of the first camera."""
        return self.intakes[0]

    def restart(self, reason: str) -> None:
        """Between two windows; the next one begins another map."""

        def action() -> None:
            self._engine.restart(reason, forget_places=True)
            self._map.restart()

        self.worker.request(action)

    def load(self, saved: SavedMap) -> Future[None]:
        """Between two windows; the next one begins another map beside it. Done when it is there, or why it is not."""
        self._loaded = loaded = Future[None]()

        def action() -> None:
            try:
                load_saved_map(saved, self._engine, self._map, self._builder)
            except Exception as error:
                loaded.set_exception(error)
            else:
                self.publishing.renew_map()
                loaded.set_result(None)

        self.worker.request(action)
        return loaded

    def _offer(self, frame: Frame) -> None:
        if not self.paused:
            self.worker.offer(frame)

    def _deliver(self, result: WindowResult) -> None:
        start_ns = time.monotonic_ns()
        placed = self._map.place(result)
        placing_ms = (time.monotonic_ns() - start_ns) * 1e-6  # it may wait for transforms
        self.last_window = placed.window
        if (latency := self.publishing.latency) is not None:
            self._engine.own_ms = placing_ms + latency.own_ms
        self.publishing.deliver(placed)
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
