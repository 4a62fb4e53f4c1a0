"""The thread between the mapping thread and the middleware."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...health import Health
from ...mapping.data.frames import Reconstruction
from ...mapping.mapper import Mapper
from ...mapping.maps.map_update import MapUpdate
from ...mapping.status import number
from ..config import NodeConfig
from ..status_board import StatusBoard
from .topics import Outputs

QUEUED_WINDOWS = 2


class PublishingThread:
    """Publishes windows in order and integrates them into the map; if it falls behind, the oldest are dropped."""

    def __init__(
        self, outputs: Outputs, mapper: Mapper,
        config: Callable[[], NodeConfig], budget_ms: Callable[[], float], now_ns: Callable[[], int],
        fail: Callable[[Exception], None], published: Callable[[], None], board: StatusBoard,
    ) -> None:  # fmt: skip
        """``now_ns`` is the clock of the stamps; ``fail`` gets unexpected errors, after which the thread goes on.

        ``published`` is called after each window. The health of the latest frame and the latency of the latest window
        go to ``board``.
        """
        self._board = board
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
            self._integrate(update)
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
                        self._integrate(update)
                    self._map_is_new = True
                    self._published()
                if time.monotonic() >= next_map_s:
                    next_map_s = time.monotonic() + 1 / self._config().output.map_rate_hz
                    is_new, self._map_is_new = self._map_is_new, False
                    self._outputs.publish_map(self._mapper.snapshot, is_new, self._config())
            except Exception as error:
                self._fail(error)

    def _integrate(self, update: MapUpdate) -> None:
        """What fails is told, and what comes after it is not lost."""
        try:
            self._mapper.integrate(update)
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
                self._board.post("publication", Health.error(f"publication failed: {error}"))
            else:
                self._mapper.counters.add(published=1)
                self._board.post("publication", Health.ok())
                published.append(frame)
        if update.window is not None and update.frames:
            self._measure(update.frames[0], update.window.finished_ns)
        return published

    def _measure(self, oldest: Reconstruction, finished_ns: int) -> None:
        """Posts the latencies of a window in ms; the budget learns the overhead."""
        now_ns, budget_ms = time.monotonic_ns(), self._budget_ms()
        latency_ms = (now_ns - oldest.received_ns) * 1e-6
        overhead_ms = (now_ns - finished_ns) * 1e-6  # from the end of the computation to the last publication
        self._misses += bool(budget_ms) and latency_ms > budget_ms
        self._mapper.observe_overhead(overhead_ms)
        values = {
            "latency_ms": number(latency_ms),
            "stamp_to_publication_ms": number((self._now_ns() - oldest.stamp_ns) * 1e-6),
            "overhead_ms": number(overhead_ms),
            "budget_misses": str(self._misses),
        }
        self._board.post("latency", Health.ok(), values)


def with_frames(update: MapUpdate, frames: Sequence[Reconstruction]) -> MapUpdate:
    """The same update with only these of its frames."""
    if update.window is None:
        return update
    return replace(update, window=replace(update.window, reconstructions=tuple(frames)))
