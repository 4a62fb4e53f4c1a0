"""The thread between the worker and the middleware."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...mapping.data.counters import Counters
from ...mapping.data.frames import Reconstruction
from ...mapping.maps.builder import MapBuilder
from ...mapping.maps.placed_map import PlacedWindow
from ..config import NodeConfig
from .topics import Outputs

QUEUED_WINDOWS = 2


@dataclass(frozen=True)
class Latency:
    """Of the frames published last, in ms."""

    reception_to_publication_ms: float  # of the oldest frame of the last window
    stamp_to_publication_ms: float  # on the node's clock
    overhead_ms: float  # from the end of the window's computation to its last publication
    misses: int  # windows that were published later than the budget allows, since activation


class PublishingThread:
    """Publishes windows in order, then brings the map up to date. If it falls behind, the oldest frames are dropped."""

    def __init__(
        self, outputs: Outputs, builder: MapBuilder, counters: Counters,
        config: Callable[[], NodeConfig], budget_ms: Callable[[], float], now_ns: Callable[[], int],
        fail: Callable[[Exception], None], published: Callable[[], None],
    ) -> None:  # fmt: skip
        """``now_ns`` is the clock of the stamps; ``fail`` gets what nobody expected, and the thread goes on.

        ``published`` is called after each window.
        """
        self.latency: Latency | None = None
        self.problem = ""  # of the latest frame; empty: it was published
        self.last_published_ns: int | None = None
        self._outputs, self._builder, self._counters = outputs, builder, counters
        self._config, self._budget_ms, self._now_ns = config, budget_ms, now_ns
        self._fail, self._published = fail, published
        self._windows: deque[tuple[PlacedWindow, int]] = deque()
        self._lost: list[PlacedWindow] = []  # before the next window; they say something of those before them
        self._changed = threading.Condition()
        self._stopping = False
        self._misses = 0
        self._map_is_new = True  # one may have been loaded before there was a stream
        self._thread = threading.Thread(target=self._loop, name="dvlt publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def deliver(self, placed: PlacedWindow, finished_ns: int) -> None:
        """Never blocks. The window's computation ended at ``finished_ns``, before it was placed."""
        with self._changed:
            self._windows.append((placed, finished_ns))
            if len(self._windows) > QUEUED_WINDOWS:
                self._lose(self._windows.popleft()[0])
            self._changed.notify()

    def renew_map(self) -> None:
        """It is another one, though no window has come."""
        self._map_is_new = True

    def stop(self) -> None:
        """Publishes what is under way and ends; the windows that still wait count as dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        while self._windows:
            self._lose(self._windows.popleft()[0])
        for placed in self._lost:
            self._builder.learn(placed)
        self._lost = []

    def _lose(self, placed: PlacedWindow) -> None:
        """Its frames; what it says of the frames before it is kept."""
        self._counters.add(dropped=len(placed.window.reconstructions))
        if placed.corrections or placed.map_from_visual is not None or placed.window.submap is not None:
            self._lost.append(replace(placed, window=replace(placed.window, reconstructions=())))

    def _loop(self) -> None:
        next_map_s = time.monotonic()
        while True:
            with self._changed:
                wait_s = max(0.0, next_map_s - time.monotonic())
                self._changed.wait_for(lambda: self._stopping or bool(self._windows), timeout=wait_s)
                if self._stopping:
                    return
                if self._windows:
                    window, lost, self._lost = self._windows.popleft(), self._lost, []
                else:
                    window, lost = None, []
            try:
                if window is not None:
                    placed, finished_ns = window
                    published = self._publish(placed, finished_ns)
                    for known in (*lost, placed):
                        self._builder.learn(known)
                    self._remember(published, placed)
                    self._map_is_new = True
                if time.monotonic() >= next_map_s:
                    next_map_s = time.monotonic() + 1 / self._config().output.map_rate_hz
                    is_new, self._map_is_new = self._map_is_new, False
                    self._outputs.publish_map(self._builder, is_new, self._config())
            except Exception as error:
                self._fail(error)

    def _publish(self, placed: PlacedWindow, finished_ns: int) -> list[Reconstruction]:
        """Returns the frames that have left."""
        config, window, published = self._config(), placed.window, []
        for reconstruction in window.reconstructions:
            try:
                self._outputs.publish(reconstruction, placed, config)
            except Exception as error:
                self._counters.add(dropped=1)
                self._fail(error)
                self.problem = f"publication failed: {error}"
            else:
                self._counters.add(published=1)
                self.problem = ""
                published.append(reconstruction)
        if window.reconstructions:
            self._measure(window.reconstructions[0], finished_ns)
        self._published()
        return published

    def _remember(self, published: Sequence[Reconstruction], placed: PlacedWindow) -> None:
        has_place = placed.is_metric or not self._config().has_metric_source
        for reconstruction in published:
            self._builder.add(reconstruction, has_place, placed.window.submap_id)

    def _measure(self, oldest: Reconstruction, finished_ns: int) -> None:
        now_ns = time.monotonic_ns()
        latency_ms, budget_ms = (now_ns - oldest.received_ns) * 1e-6, self._budget_ms()
        self._misses += bool(budget_ms) and latency_ms > budget_ms
        stamp_ms, overhead_ms = (self._now_ns() - oldest.stamp_ns) * 1e-6, (now_ns - finished_ns) * 1e-6
        self.latency, self.last_published_ns = Latency(latency_ms, stamp_ms, overhead_ms, self._misses), now_ns
