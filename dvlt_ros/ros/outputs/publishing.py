"""The thread between the mapping thread and the middleware."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...health import Health, Level
from ...mapping.data.frames import Reconstruction
from ...mapping.mapper import Mapper
from ...mapping.maps.map_update import MapUpdate
from ..config import NodeConfig
from .topics import Outputs

QUEUED_WINDOWS = 2


@dataclass(frozen=True)
class Latency:
    """Latency of the frames published last, in ms."""

    reception_to_publication_ms: float  # of the oldest frame of the last window
    stamp_to_publication_ms: float  # on the node's clock
    overhead_ms: float  # from the end of the window's computation to its last publication
    misses: int  # windows published later than the budget allows, since activation


class PublishingThread:
    """Publishes windows in order and integrates them into the map; if it falls behind, the oldest are dropped."""

    def __init__(
        self, outputs: Outputs, mapper: Mapper,
        config: Callable[[], NodeConfig], budget_ms: Callable[[], float], now_ns: Callable[[], int],
        fail: Callable[[Exception], None], published: Callable[[], None],
    ) -> None:  # fmt: skip
        """``now_ns`` is the clock of the stamps; ``fail`` gets unexpected errors, after which the thread goes on.

        ``published`` is called after each window.
        """
        self.latency: Latency | None = None
        self._problem = ""  # of the latest frame; empty: it was published
        self.last_published_ns: int | None = None
        self._outputs, self._mapper = outputs, mapper
        self._config = config
        self._budget_ms = budget_ms
        self._now_ns = now_ns
        self._fail = fail
        self._published = published
        self._windows: deque[MapUpdate] = deque()
        self._lost: list[MapUpdate] = []  # before the next window; their corrections still apply
        self._changed = threading.Condition()
        self._stopping = False
        self._misses = 0
        self._map_is_new = True  # a map may have been loaded before activation
        self._thread = threading.Thread(target=self._loop, name="dvlt publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def health(self) -> Health:
        return Health.unless(self._problem, Level.ERROR)

    def deliver(self, update: MapUpdate) -> None:
        """Never blocks."""
        with self._changed:
            self._windows.append(update)
            if len(self._windows) > QUEUED_WINDOWS:
                self._lose(self._windows.popleft())
            self._changed.notify()

    def renew_map(self) -> None:
        """Another map is published next, even without a new window."""
        self._map_is_new = True

    def stop(self) -> None:
        """Finishes the current window and ends; windows that still wait count as dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        while self._windows:
            self._lose(self._windows.popleft())
        for update in self._lost:
            self._mapper.integrate(update)
        self._lost = []

    def _lose(self, update: MapUpdate) -> None:
        """Drops the frames of an update; its corrections, placement and submap are kept."""
        self._mapper.counters.add(dropped=len(update.frames))
        if update.corrections or update.map_from_visual is not None or update.submap is not None:
            self._lost.append(with_frames(update, ()))

    def _loop(self) -> None:
        next_map_s = time.monotonic()
        while True:
            with self._changed:
                wait_s = max(0.0, next_map_s - time.monotonic())
                self._changed.wait_for(lambda: self._stopping or bool(self._windows), timeout=wait_s)
                if self._stopping:
                    return
                if self._windows:
                    window = self._windows.popleft()
                    lost, self._lost = self._lost, []
                else:
                    window, lost = None, []
            try:
                if window is not None:
                    published = self._publish(window)
                    for update in (*lost, with_frames(window, published)):
                        self._mapper.integrate(update)
                    self._map_is_new = True
                if time.monotonic() >= next_map_s:
                    next_map_s = time.monotonic() + 1 / self._config().output.map_rate_hz
                    is_new, self._map_is_new = self._map_is_new, False
                    self._outputs.publish_map(self._mapper.snapshot, is_new, self._config())
            except Exception as error:
                self._fail(error)

    def _publish(self, update: MapUpdate) -> list[Reconstruction]:
        """Returns the frames that were published."""
        config = self._config()
        published: list[Reconstruction] = []
        for frame in update.frames:
            try:
                self._outputs.publish(frame, update, config)
            except Exception as error:
                self._mapper.counters.add(dropped=1)
                self._fail(error)
                self._problem = f"publication failed: {error}"
            else:
                self._mapper.counters.add(published=1)
                self._problem = ""
                published.append(frame)
        if update.window is not None and update.frames:
            self._measure(update.frames[0], update.window.finished_ns)
        self._published()
        return published

    def _measure(self, oldest: Reconstruction, finished_ns: int) -> None:
        now_ns = time.monotonic_ns()
        latency_ms, budget_ms = (now_ns - oldest.received_ns) * 1e-6, self._budget_ms()
        self._misses += bool(budget_ms) and latency_ms > budget_ms
        stamp_ms, overhead_ms = (self._now_ns() - oldest.stamp_ns) * 1e-6, (now_ns - finished_ns) * 1e-6
        self.latency, self.last_published_ns = Latency(latency_ms, stamp_ms, overhead_ms, self._misses), now_ns


def with_frames(update: MapUpdate, frames: Sequence[Reconstruction]) -> MapUpdate:
    """The same update with only these of its frames."""
    if update.window is None:
        return update
    return replace(update, window=replace(update.window, reconstructions=tuple(frames)))
